"""Issued certificates: tracked, handed out, revoked, renewed."""

import re
from http import HTTPMethod, HTTPStatus
from typing import Any, Literal

import msgspec

from cardd.cards.errors import CardRemovedError, CardSessionEndedError, CardSessionRequiredError
from cardd.custody.errors import WeakKeyError
from cardd.custody.registry import KeyAlreadyHeldError, KeyBlockedError
from cardd.errors import NotFoundError
from cardd.orders.errors import (
    AlreadyRevokedError,
    AuthorityKeyError,
    CertificateExpiredError,
    NotActiveError,
    NotAuthorisedError,
    PrivateKeyStaysError,
    RevocationCodeIncorrectError,
    RevocationCodeLockedError,
    RevocationCodeRequiredError,
)
from cardd.orders.filters import CertificateFilters
from cardd.orders.paging import DEFAULT_LIMIT, Page
from cardd.orders.types import (
    BlockedKeyView,
    CertificateSummary,
    CertificateView,
    KeyBlockRequest,
    OrderView,
    RenewalRequest,
    RevocationRequest,
)
from cardd.text import Text
from cardd_webservice.errors import NotAcceptableError
from cardd_webservice.guard.policy import Access
from cardd_webservice.negotiation import preferred
from cardd_webservice.operations import JSON, ORDER, READ, REVOKE, Call, Operation, Parameter, Reply
from cardd_webservice.paging import Cursor, Limit, split_query
from cardd_webservice.pem import pem_chain

_TAG = "Technical phase"
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{1,64}")
_SERIAL = Parameter("serial", "The serial, hexadecimal in either case.", example="4f1c0b2d")
_SPKI = Parameter(
    "spki_sha256",
    "SHA-256 of the key's SubjectPublicKeyInfo, hexadecimal: `public_key_sha256` of orders and certificates.",
    example="00" * 32,
)

DER = "application/pkix-cert"
PEM_CHAIN = "application/pem-certificate-chain"
_MEDIA_TYPES = (JSON, DER, PEM_CHAIN)
#: Names that a PKCS#12 file goes by (RFC 7292; browsers say the second).
_PKCS12 = ("application/pkcs12", "application/x-pkcs12")
_PKCS12_ENDINGS = (".p12", ".pfx")


class FormQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The form that a certificate is asked for in, where `Accept` does not say it."""

    format: Literal["json", "der", "chain", "p12", "pfx", "pkcs12"] | None = None


#: None for the form that does not exist.
_FORMS = {"json": JSON, "der": DER, "chain": PEM_CHAIN, "p12": None, "pfx": None, "pkcs12": None}


class CertificateQuery(CertificateFilters, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which certificates are asked for."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


async def list_certificates(call: Call[CertificateQuery]) -> Reply:
    """Answer a page of certificates, newest first."""
    filters, page = split_query(call.given, CertificateFilters)
    return Reply(await call.services.certificates.list(filters, page, call.session))


async def get_certificate(call: Call[FormQuery]) -> Reply:
    """Answer one certificate: as JSON with its history, as DER, or as PEM with its chain (RFC 8555 §9.1)."""
    media_type = _media_type(call.given, call.request.headers.get("Accept", ""))
    view = await call.services.certificates.get(_serial(call), call.session)
    headers = {"Vary": "Accept"}
    match media_type:
        case "application/pkix-cert":
            return Reply(body=view.certificate, media_type=DER, headers=headers)
        case "application/pem-certificate-chain":
            chain = pem_chain((view.certificate, *view.chain))
            return Reply(body=chain, media_type=PEM_CHAIN, headers=headers)
        case _:
            return Reply(view, headers=headers)


async def revoke(call: Call[RevocationRequest]) -> Reply:
    """Revoke a certificate for ever; the lists are published at once."""
    return Reply(await call.services.certificates.revoke(_serial(call), call.given, call.session))


async def renew(call: Call[RenewalRequest]) -> Reply:
    """Order the successor of a certificate."""
    session = call.authorised_session()
    certificates, serial = call.services.certificates, _serial(call)
    view = await call.services.sessions.while_present(
        session, lambda: certificates.renew(serial, call.given, session)
    )
    return Reply(view, status=HTTPStatus.CREATED)


async def block_key(call: Call[KeyBlockRequest]) -> Reply:
    """Block a compromised key for ever and revoke every certificate that shares it; the key may be foreign."""
    return Reply(await call.services.certificates.block_key(call.path("spki_sha256"), call.given))


def _media_type(query: FormQuery, accept: str) -> str:
    """Return the representation to answer with; raises `PrivateKeyStaysError` for who takes a PKCS#12 alone."""
    if query.format is not None:
        asked = _FORMS[query.format]
        if asked is None:
            raise PrivateKeyStaysError.of_certificate()
        return asked
    try:
        return preferred(accept, _MEDIA_TYPES)
    except NotAcceptableError:
        if any(kind in accept.lower() for kind in _PKCS12):
            raise PrivateKeyStaysError.of_certificate() from None
        raise


def _serial(call: Call[Any]) -> str:
    given = call.path("serial")
    if given.lower().endswith(_PKCS12_ENDINGS):
        raise PrivateKeyStaysError.of_certificate()
    if not _HEXADECIMAL.fullmatch(given):
        raise NotFoundError.of(Text("certificate", "certificat"), given)
    return given.lower()


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/certificates",
        handler=list_certificates,
        scopes=READ | ORDER | REVOKE,
        takes=CertificateQuery,
        answers=Page[CertificateSummary],
        summary="List certificates",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/certificates/{serial}",
        handler=get_certificate,
        scopes=READ | ORDER | REVOKE,
        takes=FormQuery,
        answers=CertificateView,
        summary="Show or download a certificate",
        tag=_TAG,
        parameters=(_SERIAL,),
        errors=(NotFoundError, NotAcceptableError, PrivateKeyStaysError),
        media_types=_MEDIA_TYPES,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/certificates/{serial}/revocation",
        handler=revoke,
        scopes=REVOKE,
        takes=RevocationRequest,
        answers=CertificateView,
        summary="Revoke a certificate",
        tag=_TAG,
        parameters=(_SERIAL,),
        errors=(
            NotFoundError,
            NotAuthorisedError,
            AlreadyRevokedError,
            CertificateExpiredError,
            RevocationCodeRequiredError,
            RevocationCodeIncorrectError,
            RevocationCodeLockedError,
        ),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/certificates/{serial}/renewal",
        handler=renew,
        scopes=ORDER,
        takes=RenewalRequest,
        answers=OrderView,
        summary="Renew a certificate",
        tag=_TAG,
        access=Access.CARD,
        status=HTTPStatus.CREATED,
        parameters=(_SERIAL,),
        errors=(
            NotFoundError,
            CardSessionRequiredError,
            CardSessionEndedError,
            CardRemovedError,
            NotAuthorisedError,
            NotActiveError,
            KeyAlreadyHeldError,
            KeyBlockedError,
            WeakKeyError,
        ),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/keys/{spki_sha256}/block",
        handler=block_key,
        takes=KeyBlockRequest,
        answers=BlockedKeyView,
        summary="Block a compromised key for ever",
        tag="Keys",
        parameters=(_SPKI,),
        errors=(AuthorityKeyError,),
    ),
)
