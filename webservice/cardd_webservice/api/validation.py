"""Validation of certificates, and who is trusted, for the applications of this machine."""

import asyncio
from http import HTTPMethod
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from cardd.errors import InvalidFieldsError
from cardd.revocation.domains import TrustedAuthority, TrustScope
from cardd.revocation.trust import java_bundle, pem_bundle, pkcs7_bundle
from cardd.revocation.verdicts import ValidationRequest, ValidationView
from cardd.text import Language, preferred_language
from cardd_webservice.errors import NotAcceptableError
from cardd_webservice.negotiation import preferred
from cardd_webservice.operations import JSON, READ, VALIDATE, Call, Keeping, Operation, Reply

_TAG = "Revocation data"

PEM = "application/x-pem-file"
PKCS7 = "application/x-pkcs7-certificates"
JAVA = "application/x-pkcs12"
_BUNDLES = {PEM: (pem_bundle, "pem"), PKCS7: (pkcs7_bundle, "p7b"), JAVA: (java_bundle, "p12")}
_MEDIA_TYPES = (JSON, *_BUNDLES)


class TrustQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the bundle is for."""

    scope: Annotated[
        TrustScope,
        Meta(
            description="Of a bundle: the test PKIs (default), one of them, or production; never both. The JSON "
            "always shows everything."
        ),
    ] = TrustScope.TEST


class TrustView(msgspec.Struct, frozen=True, kw_only=True):
    """The authorities: accepted, known by name only, retired, each with its reason."""

    authorities: tuple[TrustedAuthority, ...]


async def validate(call: Call[ValidationRequest]) -> Reply:
    """Validate a certificate for now, or for a past moment from the lists kept; every finding in plain words."""
    return Reply(await call.services.validation.validate(call.given, _language(call)))


async def trust(call: Call[TrustQuery]) -> Reply:
    """Answer who is accepted, who is retired and why; or the accepted certificates as PEM, PKCS#7 or Java trust store.

    The Java trust store is PKCS#12 under Java's own default password, `changeit`; it holds certificates only.
    """
    media_type = preferred(call.request.headers.get("Accept", ""), _MEDIA_TYPES)
    store, now, language = call.services.trust, call.services.clock.now(), _language(call)
    headers = {"Vary": "Accept, Accept-Language"}
    if media_type == JSON:
        shown = await asyncio.to_thread(store.authorities, now)
        views = [msgspec.structs.replace(each, reason=each.text.in_language(language)) for each in shown]
        return Reply(TrustView(authorities=tuple(views)), headers=headers)
    encode, suffix = _BUNDLES[media_type]
    certificates = await asyncio.to_thread(store.bundle, call.given.scope, now)
    body = await asyncio.to_thread(encode, certificates)
    disposition = f'attachment; filename="cardd-trust-{call.given.scope}.{suffix}"'
    return Reply(body=body, media_type=media_type, headers={**headers, "Content-Disposition": disposition})


def _language(call: Call[Any]) -> Language:
    return preferred_language(call.request.headers.get("Accept-Language", ""))


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.POST,
        path="/validation",
        handler=validate,
        scopes=VALIDATE,
        takes=ValidationRequest,
        answers=ValidationView,
        summary="Validate a certificate",
        tag=_TAG,
        errors=(InvalidFieldsError,),
        keeping=Keeping.MEMORY,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/trust",
        handler=trust,
        scopes=READ | VALIDATE,
        takes=TrustQuery,
        answers=TrustView,
        summary="Show or download who is trusted",
        tag=_TAG,
        errors=(NotAcceptableError,),
        media_types=_MEDIA_TYPES,
    ),
)
