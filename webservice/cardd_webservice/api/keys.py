"""Keys: where each is, what keeps it, what the last check found, and the evidence for it."""

from http import HTTPMethod
from typing import Any

from cardd.custody.errors import MechanismUnavailableFaultError, TokenQuarantinedFaultError
from cardd.custody.types import EvidenceView, KeyView, SweepReport
from cardd.errors import NotFoundError
from cardd.orders.paging import Page, PageRequest
from cardd_webservice.operations import READ, Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import page_of

_TAG = "Keys"
PKCS10 = "application/x-pem-file"
SPKI = Parameter(
    "spki_sha256",
    "SHA-256 of the key's SubjectPublicKeyInfo, hexadecimal.",
    pattern="^[0-9a-fA-F]{64}$",
    example="0" * 64,
)


async def list_keys(call: Call[PageRequest]) -> Reply:
    """Answer a page of keys, with what the last check found."""
    return Reply(page_of(await call.services.keys.keys(), lambda key: key.id, call.given))


async def check_keys(call: Call[Nothing]) -> Reply:
    """Check every key on the daemon's tokens now, as is done at the start and daily."""
    return Reply(await call.services.keys.check())


async def get_key_evidence(call: Call[Nothing]) -> Reply:
    """Answer the signed statement made with a key; `cardd key evidence --verify` checks it without a daemon."""
    return Reply(await call.services.keys.evidence(call.path("spki_sha256")))


async def get_key_request(call: Call[Nothing]) -> Reply:
    """Answer a certification request (PEM) signed by a key on a token, with the evidence of where it is."""
    body = await call.services.keys.request(call.path("spki_sha256"))
    return Reply(body=body, media_type=PKCS10)


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/keys",
        handler=list_keys,
        scopes=READ,
        takes=PageRequest,
        answers=Page[KeyView],
        summary="List keys and what was found of them",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/keys/check",
        handler=check_keys,
        takes=Nothing,
        answers=SweepReport,
        summary="Check every key now",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/keys/{spki_sha256}/evidence",
        handler=get_key_evidence,
        scopes=READ,
        takes=Nothing,
        answers=EvidenceView,
        summary="Evidence of where a key was made",
        tag=_TAG,
        parameters=(SPKI,),
        errors=(NotFoundError,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/keys/{spki_sha256}/csr",
        handler=get_key_request,
        takes=Nothing,
        answers=None,
        summary="Certification request of a key on a token",
        tag=_TAG,
        parameters=(SPKI,),
        errors=(NotFoundError, TokenQuarantinedFaultError, MechanismUnavailableFaultError),
        media_types=(PKCS10,),
    ),
)
