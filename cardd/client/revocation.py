"""Revocation, validation and trust, typed: each question once, asked synchronously or asynchronously."""

import base64
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, TypeVar

import msgspec

from cardd.client.answers import Answer, Query, ServerEvent, segment
from cardd.client.errors import UnexpectedAnswerError
from cardd.events import Event
from cardd.revocation.domains import TrustedAuthority, TrustScope
from cardd.revocation.types import CrlRequest, CrlView, Question, RevocationAnswer
from cardd.revocation.verdicts import ValidationPolicy, ValidationRequest, ValidationView
from cardd.text import Text

if TYPE_CHECKING:
    from cardd.client.asynchronous import AsyncClient
    from cardd.client.sync import Client

T = TypeVar("T")

BundleFormat = Literal["pem", "pkcs7", "java"]
TRUST_FORMATS: dict[str, str] = {
    "pem": "application/x-pem-file",
    "pkcs7": "application/x-pkcs7-certificates",
    "java": "application/x-pkcs12",
}
CRL_TYPE = "application/pkix-crl"

#: Lists on one page, the API's own limit.
_MOST_LISTS = 500


class TrustAnswer(msgspec.Struct, frozen=True):
    """The authorities known."""

    authorities: tuple[TrustedAuthority, ...]


class _Statuses(msgspec.Struct, frozen=True):
    items: tuple[RevocationAnswer, ...]


class _Lists(msgspec.Struct, frozen=True):
    items: tuple[CrlView, ...]


@dataclass(frozen=True)
class _Asked(Generic[T]):
    """A question: what is sent, and how its answer is read."""

    path: str
    read: Callable[[Answer], T]
    query: Query | None = None
    body: Any = None
    accept: str = "application/json"


class ValidationQuestion(NamedTuple):
    """What a validation is asked; certificates and lists as PEM or DER bytes."""

    certificate: bytes
    intermediates: Sequence[bytes] = ()
    crls: Sequence[bytes] = ()
    at: datetime | None = None
    policy: ValidationPolicy = ValidationPolicy()
    anchors: Sequence[bytes] = ()


class RevocationData:
    """The questions, asked through a synchronous client; each raises the client's errors."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def status(self, issuer_spki_sha256: str, serial: int, policy: str | None = None) -> RevocationAnswer:
        """Ask for one certificate, by its issuer's key and its serial."""
        return self._ask(_status(issuer_spki_sha256, serial, policy))

    def status_of(self, certificate: bytes, policy: str | None = None) -> RevocationAnswer:
        """Ask for one certificate, PEM or DER."""
        return self._ask(_status_of(certificate, policy))

    def statuses(
        self, questions: Iterable[Question], policy: str | None = None
    ) -> tuple[RevocationAnswer, ...]:
        """Ask for up to 10,000 certificates at once; the answers come in their order."""
        return self._ask(_statuses(questions, policy))

    def statuses_of(
        self, certificates: Iterable[bytes], policy: str | None = None
    ) -> tuple[RevocationAnswer, ...]:
        """Ask for any number of certificates, PEM or DER, in as many requests as it takes; answers in their order."""
        pieces = [self._ask(asked) for asked in _statuses_of(certificates, policy)]
        return tuple(answer for piece in pieces for answer in piece)

    def validate(self, question: ValidationQuestion) -> ValidationView:
        """Validate a certificate."""
        return self._ask(_validation(question))

    def lists(self) -> tuple[CrlView, ...]:
        """Return the revocation lists kept, up to 500 of them."""
        return self._ask(_LISTS)

    def add(self, request: CrlRequest) -> CrlView:
        """Have a list kept from now on; its first fetch is not waited for."""
        return self._ask(_added(request))

    def refresh(self, crl: str) -> CrlView:
        """Have a list fetched now, and wait for it."""
        return self._ask(_refreshed(crl))

    def list_file(self, crl: str) -> bytes:
        """Return a revocation list, DER."""
        return self._ask(_list_file(crl))

    def events(self, after: int | None = None) -> Iterator[Event]:
        """Follow what happens to lists, from the event after `after`, or from now on; ends when the stream is cut."""
        for event in self._client.events(after):
            if _is_of_lists(event):
                yield _event(event)

    def trust(self) -> tuple[TrustedAuthority, ...]:
        """Return who is trusted, who is not any more, and why."""
        return self._ask(_TRUST)

    def trust_bundle(self, form: BundleFormat = "pem", scope: TrustScope = TrustScope.TEST) -> bytes:
        """Return the accepted CA certificates of a scope as a file."""
        return self._ask(_bundle(form, scope))

    def _ask(self, asked: _Asked[T]) -> T:
        if asked.body is not None:
            return asked.read(self._client.post(asked.path, asked.body))
        return asked.read(self._client.get(asked.path, asked.query, accept=asked.accept))


class AsyncRevocationData:
    """The questions, asked through an asynchronous client; each raises the client's errors."""

    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def status(
        self, issuer_spki_sha256: str, serial: int, policy: str | None = None
    ) -> RevocationAnswer:
        """Ask for one certificate, by its issuer's key and its serial."""
        return await self._ask(_status(issuer_spki_sha256, serial, policy))

    async def status_of(self, certificate: bytes, policy: str | None = None) -> RevocationAnswer:
        """Ask for one certificate, PEM or DER."""
        return await self._ask(_status_of(certificate, policy))

    async def statuses(
        self, questions: Iterable[Question], policy: str | None = None
    ) -> tuple[RevocationAnswer, ...]:
        """Ask for up to 10,000 certificates at once; the answers come in their order."""
        return await self._ask(_statuses(questions, policy))

    async def statuses_of(
        self, certificates: Iterable[bytes], policy: str | None = None
    ) -> tuple[RevocationAnswer, ...]:
        """Ask for any number of certificates, PEM or DER, in as many requests as it takes; answers in their order."""
        pieces = [await self._ask(asked) for asked in _statuses_of(certificates, policy)]
        return tuple(answer for piece in pieces for answer in piece)

    async def validate(self, question: ValidationQuestion) -> ValidationView:
        """Validate a certificate."""
        return await self._ask(_validation(question))

    async def lists(self) -> tuple[CrlView, ...]:
        """Return the revocation lists kept, up to 500 of them."""
        return await self._ask(_LISTS)

    async def add(self, request: CrlRequest) -> CrlView:
        """Have a list kept from now on; its first fetch is not waited for."""
        return await self._ask(_added(request))

    async def refresh(self, crl: str) -> CrlView:
        """Have a list fetched now, and wait for it."""
        return await self._ask(_refreshed(crl))

    async def list_file(self, crl: str) -> bytes:
        """Return a revocation list, DER."""
        return await self._ask(_list_file(crl))

    async def events(self, after: int | None = None) -> AsyncIterator[Event]:
        """Follow what happens to lists, from the event after `after`, or from now on; ends when the stream is cut."""
        async for event in self._client.events(after):
            if _is_of_lists(event):
                yield _event(event)

    async def trust(self) -> tuple[TrustedAuthority, ...]:
        """Return who is trusted, who is not any more, and why."""
        return await self._ask(_TRUST)

    async def trust_bundle(self, form: BundleFormat = "pem", scope: TrustScope = TrustScope.TEST) -> bytes:
        """Return the accepted CA certificates of a scope as a file."""
        return await self._ask(_bundle(form, scope))

    async def _ask(self, asked: _Asked[T]) -> T:
        if asked.body is not None:
            return asked.read(await self._client.post(asked.path, asked.body))
        return asked.read(await self._client.get(asked.path, asked.query, accept=asked.accept))


def _is_of_lists(event: ServerEvent) -> bool:
    return event.type.startswith("crl.")


def _event(event: ServerEvent) -> Event:
    try:
        return msgspec.json.decode(event.data, type=Event)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise UnexpectedAnswerError(
            Text(f"The event is not understood: {error}.", f"L’événement n’est pas compris : {error}.")
        ) from None


def validation_request(question: ValidationQuestion) -> ValidationRequest:
    """Return the body of a validation."""
    anchors = (*question.policy.anchors, *map(as_text, question.anchors))
    return ValidationRequest(
        certificate=as_text(question.certificate),
        intermediates=tuple(map(as_text, question.intermediates)),
        crls=tuple(map(as_text, question.crls)),
        at=question.at,
        policy=msgspec.structs.replace(question.policy, anchors=anchors),
    )


def as_text(content: bytes) -> str:
    """Return a certificate or list as the API takes it: PEM as it is, DER in base64."""
    if b"-----BEGIN " in content:
        return content.decode("ascii", errors="replace")
    return base64.b64encode(content).decode("ascii")


def _hexadecimal(serial: int) -> str:
    return f"{serial:x}"


def _status(issuer: str, serial: int, policy: str | None) -> _Asked[RevocationAnswer]:
    query = {"issuer": issuer, "serial": _hexadecimal(serial), "policy": policy}
    return _Asked("/status", lambda answer: answer.decode(RevocationAnswer), query=query)


def _status_of(certificate: bytes, policy: str | None) -> _Asked[RevocationAnswer]:
    body = _batch([{"certificate": as_text(certificate)}], policy)
    return _Asked("/status", lambda answer: answer.decode(_Statuses).items[0], body=body)


def _statuses(questions: Iterable[Question], policy: str | None) -> _Asked[tuple[RevocationAnswer, ...]]:
    items = [{"issuer": each.issuer, "serial": _hexadecimal(each.serial)} for each in questions]
    return _asked_in_batch(items, policy)


#: Of a request for many certificates: the most of them, and the most of their text, well below what a body may have.
_PIECE, _PIECE_CHARACTERS = 10_000, 3 * 1024 * 1024


def _statuses_of(
    certificates: Iterable[bytes], policy: str | None
) -> Iterator[_Asked[tuple[RevocationAnswer, ...]]]:
    """Yield one question for each piece of the certificates."""
    piece: list[dict[str, str]] = []
    characters = 0
    for text in map(as_text, certificates):
        if piece and (len(piece) == _PIECE or characters + len(text) > _PIECE_CHARACTERS):
            yield _asked_in_batch(piece, policy)
            piece, characters = [], 0
        piece.append({"certificate": text})
        characters += len(text)
    if piece:
        yield _asked_in_batch(piece, policy)


def _asked_in_batch(items: list[dict[str, str]], policy: str | None) -> _Asked[tuple[RevocationAnswer, ...]]:
    return _Asked("/status", lambda answer: answer.decode(_Statuses).items, body=_batch(items, policy))


def _batch(items: list[dict[str, str]], policy: str | None) -> dict[str, Any]:
    return {"items": items} | ({"policy": policy} if policy is not None else {})


def _validation(question: ValidationQuestion) -> _Asked[ValidationView]:
    return _Asked(
        "/validation", lambda answer: answer.decode(ValidationView), body=validation_request(question)
    )


def _added(request: CrlRequest) -> _Asked[CrlView]:
    return _Asked("/crls", lambda answer: answer.decode(CrlView), body=request)


def _refreshed(crl: str) -> _Asked[CrlView]:
    return _Asked(f"/crls/{segment(crl)}/refresh", lambda answer: answer.decode(CrlView), body={})


def _list_file(crl: str) -> _Asked[bytes]:
    return _Asked(f"/crls/{segment(crl)}.crl", lambda answer: answer.body, accept=CRL_TYPE)


def _bundle(form: BundleFormat, scope: TrustScope) -> _Asked[bytes]:
    return _Asked(
        "/trust", lambda answer: answer.body, query={"scope": scope.value}, accept=TRUST_FORMATS[form]
    )


_TRUST = _Asked("/trust", lambda answer: answer.decode(TrustAnswer).authorities)
_LISTS = _Asked("/crls", lambda answer: answer.decode(_Lists).items, query={"limit": _MOST_LISTS})
