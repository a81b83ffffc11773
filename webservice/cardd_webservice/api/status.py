"""Is this certificate revoked? Single answers and batches, from the lists kept."""

import asyncio
from collections.abc import Iterable
from http import HTTPMethod
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.revocation.sources import read_certificate
from cardd.revocation.types import FreshnessPolicy, PolicyName, Question, RevocationAnswer, SpkiHash
from cardd.text import Text
from cardd_webservice.operations import VALIDATE, Call, Keeping, Operation, Reply

_TAG = "Revocation data"

Issuer = Annotated[
    str,
    Meta(
        min_length=64,
        max_length=64,
        pattern="^[0-9a-fA-F]{64}$",
        description="SHA-256 of the issuer's SubjectPublicKeyInfo, hexadecimal.",
    ),
]
Serial = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=129,
        pattern="^-?[0-9a-fA-F]{1,128}$",
        description="Serial of the certificate, hexadecimal.",
    ),
]
_POLICY = (
    "What to make of ageing lists: `standard`, `strict`, `warn`, `grace`, or a stored policy. Default: the one stored "
    "for the application, else the settings'."
)


class StatusQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One certificate, by its issuer's key and its serial."""

    issuer: Issuer
    serial: Serial
    policy: Annotated[PolicyName, Meta(description=_POLICY)] | None = None


class StatusItem(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One certificate: itself, or its issuer's key and its serial."""

    issuer: Issuer | None = None
    serial: Serial | None = None
    certificate: Annotated[str, Meta(max_length=64 * 1024, description="PEM, or DER in base64.")] | None = (
        None
    )


class StatusRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Many certificates at once."""

    items: Annotated[tuple[StatusItem, ...], Meta(max_length=10_000)]
    policy: Annotated[PolicyName, Meta(description=_POLICY)] | None = None


class StatusAnswers(msgspec.Struct, frozen=True, kw_only=True):
    """The answers, in the order of the items."""

    items: tuple[RevocationAnswer, ...]


async def get_status(call: Call[StatusQuery]) -> Reply:
    """Answer for one certificate."""
    given = call.given
    issuer = SpkiHash(given.issuer.lower())
    policy = _policy(call, given.policy)
    return Reply(call.services.revocation.answer(issuer, int(given.serial, 16), policy))


async def post_status(call: Call[StatusRequest]) -> Reply:
    """Answer for up to 10,000 certificates, in a body of up to 4 MiB."""
    policy, items = _policy(call, call.given.policy), call.given.items
    revocation = call.services.revocation
    answers: dict[int, RevocationAnswer] = {}
    questions: list[Question] = []
    for number, item in enumerate(items):
        if item.certificate is None and item.issuer is not None and item.serial is not None:
            questions.append(Question(SpkiHash(item.issuer.lower()), int(item.serial, 16)))
        elif item.certificate is not None and item.issuer is None and item.serial is None:
            certificate = read_certificate(item.certificate, f"items.{number}.certificate")
            answers[number] = await revocation.status_of(certificate, policy=policy)
            await asyncio.sleep(0)  # its issuer's signature was verified: others get their turn
        else:
            raise _one_or_the_other(number)
    found = iter(await revocation.batch(questions, policy))
    in_order = (answers[number] if number in answers else next(found) for number in range(len(items)))
    return Reply(body=_encoded(in_order if answers else found))


def _encoded(answers: Iterable[RevocationAnswer]) -> bytes:
    """Return `StatusAnswers` in JSON; an answer that many certificates share is encoded once."""
    encoded: dict[int, bytes] = {}
    parts, kept = [], []
    for answer in answers:
        part = encoded.get(id(answer))
        if part is None:
            part = encoded[id(answer)] = msgspec.json.encode(answer)
            kept.append(answer)  # while it is, its id is no other's
        parts.append(part)
    return b'{"items":[' + b",".join(parts) + b"]}"


def _policy(call: Call[Any], name: str | None) -> FreshnessPolicy:
    return call.services.policies.of(name, call.names)


def _one_or_the_other(number: int) -> InvalidFieldsError:
    return InvalidFieldsError(
        [
            FieldProblem(
                f"items.{number}",
                Text(
                    "needs either `issuer` and `serial`, or `certificate`",
                    "demande soit « issuer » et « serial », soit « certificate »",
                ),
            )
        ]
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/status",
        handler=get_status,
        scopes=VALIDATE,
        takes=StatusQuery,
        answers=RevocationAnswer,
        summary="Status of a certificate",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/status",
        handler=post_status,
        scopes=VALIDATE,
        takes=StatusRequest,
        answers=StatusAnswers,
        summary="Status of many certificates",
        tag=_TAG,
        keeping=Keeping.MEMORY,
    ),
)
