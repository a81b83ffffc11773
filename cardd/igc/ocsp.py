"""OCSP answers (RFC 6960), in the lightweight profile's form where a request allows it (RFC 5019).

Who signs, and what is said, is the matter of an `Answerer`: a delegated responder of each CA of the PKI, and for other
issuers whoever `answer_for` names. Responses to requests without a nonce are kept until what they rest on changes or
half their validity is over; the values of their HTTP caching headers come with them.
"""

import base64
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote

import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from cardd.errors import CarddError
from cardd.igc import ocspwire
from cardd.igc.answerers import Answerer, OtherIssuers, OwnIssuer, Responder, Statement, Status, StatusLookup
from cardd.igc.dates import whole_second
from cardd.igc.names import CaName
from cardd.igc.ocspwire import CertificateId, IssuerKey, MalformedRequestError
from cardd.igc.policy import PkiPolicy
from cardd.igc.signer import placeholder_key, sign_verified

K = TypeVar("K", bound=Hashable)

_log = structlog.get_logger(__name__)

#: The largest request read, in bytes; one CertID takes about 80.
MAX_REQUEST_BYTES = 16 * 1024
#: Responses kept at most.
_CACHE_SIZE = 4096


class OcspReply(NamedTuple):
    """An `application/ocsp-response` body and the values of its caching headers (RFC 5019 §6.2).

    The four values are None when the reply must not be cached: errors, and answers to a nonce.
    """

    body: bytes
    max_age: int | None = None
    """Seconds until `expires`, from the moment of the answer."""
    last_modified: datetime | None = None
    expires: datetime | None = None
    etag: str | None = None
    """A strong entity tag, quotes included."""


class OcspService:
    """Answers for the CAs of one PKI, and for other issuers where `answer_for` has named them."""

    def __init__(
        self, policy: PkiPolicy, responders: Mapping[CaName, Responder], lookup: StatusLookup
    ) -> None:
        self._own = {
            name: OwnIssuer(responder, lookup, policy.ocsp_validity) for name, responder in responders.items()
        }
        self._named = {
            key: self._own[name]
            for name, responder in responders.items()
            for key in ocspwire.issuer_keys(responder.authority.certificate)
        }
        self._others: OtherIssuers | None = None
        #: By the certificates asked about, and by the requests that asked, byte for byte.
        self._kept: _LruCache[tuple[CertificateId, ...]] = _LruCache()
        self._kept_for: _LruCache[bytes] = _LruCache()

    def invalidate(self, authority: CaName) -> None:
        """Forget every kept response of `authority`: its revocations changed."""
        self._own[authority].invalidate()

    def replace(self, responder: Responder) -> None:
        """Answer with `responder` from now on: its certificate was renewed."""
        self._own[responder.authority.name].replace(responder)

    def answer_for(self, others: OtherIssuers | None) -> None:
        """Answer for these issuers beside the PKI's own from now on."""
        self._others = others
        self._kept.clear()
        self._kept_for.clear()

    async def answer_get(self, encoded: str, now: datetime) -> OcspReply:
        """Answer a GET request: what follows `/ocsp/` in its path, base64 that may be percent-encoded."""
        try:
            request = base64.b64decode(unquote(encoded[: 2 * MAX_REQUEST_BYTES]), validate=True)
        except ValueError:
            return unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        return await self.answer_post(request, now)

    async def answer_post(self, request: bytes, now: datetime) -> OcspReply:
        """Answer the DER request in a POST body. Never raises: each failure is an OCSP error response.

        Garbage is answered `malformedRequest`, an issuer that nobody here answers for, or more than one
        issuer at once, `unauthorized`, and what cannot be said now `tryLater`.
        """
        known = self._kept_for.get(request)
        if known is not None and known.holds(now):
            return known.reply(now)
        try:
            parsed = ocspwire.parse_request(request[: MAX_REQUEST_BYTES + 1], limit=MAX_REQUEST_BYTES)
        except MalformedRequestError:
            return unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        answerers = {self._answerer(certificate.issuer) for certificate in parsed.certificates}
        answerer = answerers.pop()
        if answerer is None or answerers:
            return unsuccessful(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        try:
            if parsed.nonce is not None:
                return OcspReply((await _signed(answerer, parsed, now)).body)
            kept = await self._kept_or_signed(answerer, parsed, now)
            self._kept_for.put(request, kept)
            return kept.reply(now)
        except CarddError as error:
            _log.warning("ocsp.try_later", code=error.code, error=str(error))
            return unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)

    def _answerer(self, issuer: IssuerKey) -> Answerer | None:
        own = self._named.get(issuer)
        if own is not None or self._others is None:
            return own
        return self._others.answerer(issuer)

    async def _kept_or_signed(self, answerer: Answerer, request: ocspwire.Request, now: datetime) -> "_Kept":
        known = self._kept.get(request.certificates)
        if known is not None and known.holds(now):
            return known
        serials = tuple(certificate.serial for certificate in request.certificates)
        # A revocation since the look-up makes the response good for its asker, but not for the next.
        mark = answerer.mark(serials, now)
        kept = _Kept(answerer, serials, mark, await _signed(answerer, request, now), now)
        self._kept.put(request.certificates, kept)
        return kept


class _Signed(NamedTuple):
    """A signed response, and the narrowest of the times that its answers say."""

    body: bytes
    this_update: datetime
    next_update: datetime


async def _signed(answerer: Answerer, request: ocspwire.Request, now: datetime) -> _Signed:
    said = [await answerer.say(certificate.serial, now) for certificate in request.certificates]
    drafts = [
        _draft(answerer, certificate, statement, request.nonce)
        for certificate, statement in zip(request.certificates, said, strict=True)
    ]
    response = ocspwire.UnsignedResponse.merge(drafts, whole_second(now))
    return _Signed(
        response.signed(await sign_verified(answerer.signer, response.to_be_signed)),
        max(statement.this_update for statement in said),
        min(statement.next_update for statement in said),
    )


def _draft(
    answerer: Answerer, certificate: CertificateId, statement: Statement, nonce: bytes | None
) -> bytes:
    revoked_at = statement.revoked_at
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response_by_hash(
            issuer_name_hash=certificate.issuer.name_hash,
            issuer_key_hash=certificate.issuer.key_hash,
            serial_number=certificate.serial,
            algorithm=certificate.issuer.algorithm.hash(),
            cert_status=_CERT_STATUS[statement.status],
            this_update=statement.this_update,
            next_update=statement.next_update,
            revocation_time=None if revoked_at is None else revoked_at.replace(tzinfo=None),
            revocation_reason=statement.reason,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, answerer.certificate)
        .certificates([answerer.certificate])
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    key = placeholder_key(answerer.signer.public_key)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


_CERT_STATUS = {
    Status.GOOD: ocsp.OCSPCertStatus.GOOD,
    Status.REVOKED: ocsp.OCSPCertStatus.REVOKED,
    Status.UNKNOWN: ocsp.OCSPCertStatus.UNKNOWN,
}


class _Kept:
    """A signed response, and what it is sent with."""

    def __init__(
        self, answerer: Answerer, serials: tuple[int, ...], mark: Hashable, signed: _Signed, now: datetime
    ) -> None:
        self._answerer = answerer
        self._serials = serials
        self._mark = mark
        self._signed = signed
        self._signed_at = now
        self._renew_at = now + (signed.next_update - now) / 2
        self._etag = f'"{sha256(signed.body).hexdigest()}"'

    def holds(self, now: datetime) -> bool:
        """Tell whether it may be sent again: nothing has changed, and half its time is not over."""
        in_time = self._signed_at <= now < self._renew_at
        return in_time and self._answerer.mark(self._serials, now) == self._mark

    def reply(self, now: datetime) -> OcspReply:
        """Return it as it is answered now."""
        signed = self._signed
        max_age = max(0, int((signed.next_update - now).total_seconds()))
        return OcspReply(signed.body, max_age, signed.this_update, signed.next_update, self._etag)


class _LruCache(Generic[K]):
    """The responses used last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[K, _Kept] = OrderedDict()

    def get(self, key: K) -> _Kept | None:
        """Return a response and note its use."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()

    def put(self, key: K, kept: _Kept) -> None:
        """Keep a response, and forget the one that was not used for longest."""
        self._kept[key] = kept
        while len(self._kept) > _CACHE_SIZE:
            self._kept.popitem(last=False)


def unsuccessful(status: ocsp.OCSPResponseStatus) -> OcspReply:
    """Return an error response, which is not signed (RFC 6960 §2.3)."""
    return OcspReply(ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER))
