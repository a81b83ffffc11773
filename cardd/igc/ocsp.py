"""OCSP answers (RFC 6960), in the lightweight profile's form where a request allows it (RFC 5019).

A delegated responder of each CA signs. Responses to requests without a nonce are kept until the CA's data
change (`invalidate`) or half their validity is over; the values of their HTTP caching headers come with them.
"""

import base64
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
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
from cardd.igc.authority import Authority
from cardd.igc.crl import RevocationReason
from cardd.igc.dates import whole_second
from cardd.igc.names import CaName
from cardd.igc.ocspwire import CertificateId, MalformedRequestError
from cardd.igc.policy import PkiPolicy
from cardd.igc.signer import Signer, placeholder_key, sign_verified

K = TypeVar("K", bound=Hashable)

_log = structlog.get_logger(__name__)

#: The largest request read, in bytes; one CertID takes about 80.
MAX_REQUEST_BYTES = 16 * 1024
#: Responses kept at most.
_CACHE_SIZE = 4096


class Status(StrEnum):
    """What a CA says of a serial (RFC 6960 §2.2)."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class CertificateStatus(NamedTuple):
    """A status and, when revoked, since when (UTC) and why."""

    status: Status
    revoked_at: datetime | None = None
    reason: RevocationReason = RevocationReason.UNSPECIFIED


#: Looks up a serial among the certificates of a CA; a serial never issued is `UNKNOWN`.
StatusLookup = Callable[[CaName, int], Awaitable[CertificateStatus]]


@dataclass(frozen=True)
class Responder:
    """Who answers for a CA: its delegated certificate (see `HierarchyBuilder.responder_certificate`) and key."""

    authority: Authority
    certificate: x509.Certificate
    signer: Signer


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
    """Answers for the CAs of one PKI."""

    def __init__(
        self, policy: PkiPolicy, responders: Mapping[CaName, Responder], lookup: StatusLookup
    ) -> None:
        self._policy = policy
        self._lookup = lookup
        self._responders = dict(responders)
        self._authorities = {
            key: responder.authority.name
            for responder in responders.values()
            for key in ocspwire.issuer_keys(responder.authority.certificate)
        }
        #: By the certificates asked about, and by the requests that asked, byte for byte.
        self._kept: _LruCache[tuple[CertificateId, ...]] = _LruCache()
        self._kept_for: _LruCache[bytes] = _LruCache()
        self._generations = dict.fromkeys(responders, 0)

    def invalidate(self, authority: CaName) -> None:
        """Forget every kept response of `authority`: its revocations changed."""
        self._generations[authority] += 1

    def replace(self, responder: Responder) -> None:
        """Answer with `responder` from now on: its certificate was renewed."""
        self._responders[responder.authority.name] = responder
        self.invalidate(responder.authority.name)

    async def answer_get(self, encoded: str, now: datetime) -> OcspReply:
        """Answer a GET request: what follows `/ocsp/` in its path, base64 that may be percent-encoded."""
        try:
            request = base64.b64decode(unquote(encoded[: 2 * MAX_REQUEST_BYTES]), validate=True)
        except ValueError:
            return _error(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        return await self.answer_post(request, now)

    async def answer_post(self, request: bytes, now: datetime) -> OcspReply:
        """Answer the DER request in a POST body. Never raises: each failure is an OCSP error response.

        Garbage is answered `malformedRequest`, an issuer that is none of ours, or more than one issuer at
        once, `unauthorized`, and a part that does not answer `tryLater`.
        """
        known = self._kept_for.get(request)
        if known is not None and self._is_current(known, now):
            return known.reply(now)
        try:
            parsed = ocspwire.parse_request(request[: MAX_REQUEST_BYTES + 1], limit=MAX_REQUEST_BYTES)
        except MalformedRequestError:
            return _error(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        authorities = {self._authorities.get(certificate.issuer) for certificate in parsed.certificates}
        authority = authorities.pop()
        if authority is None or authorities:
            return _error(ocsp.OCSPResponseStatus.UNAUTHORIZED)
        try:
            if parsed.nonce is not None:
                return OcspReply(await self._signed(authority, parsed, now))
            kept = await self._kept_or_signed(authority, parsed, now)
            self._kept_for.put(request, kept)
            return kept.reply(now)
        except CarddError as error:
            _log.warning("ocsp.try_later", authority=authority.value, code=error.code, error=str(error))
            return _error(ocsp.OCSPResponseStatus.TRY_LATER)

    def _is_current(self, kept: "_Kept", now: datetime) -> bool:
        generation = self._generations[kept.authority]
        return kept.generation == generation and kept.this_update <= now < kept.renew_at

    async def _kept_or_signed(self, authority: CaName, request: ocspwire.Request, now: datetime) -> "_Kept":
        known = self._kept.get(request.certificates)
        if known is not None and self._is_current(known, now):
            return known
        # A revocation since the look-up makes the response good for its asker, but not for the next.
        generation = self._generations[authority]
        body = await self._signed(authority, request, now)
        kept = _Kept(authority, generation, body, whole_second(now), self._policy.ocsp_validity)
        self._kept.put(request.certificates, kept)
        return kept

    async def _signed(self, authority: CaName, request: ocspwire.Request, now: datetime) -> bytes:
        responder = self._responders[authority]
        drafts = [
            self._draft(
                responder, certificate, await self._lookup(authority, certificate.serial), request.nonce, now
            )
            for certificate in request.certificates
        ]
        response = ocspwire.UnsignedResponse.merge(drafts)
        return response.signed(await sign_verified(responder.signer, response.to_be_signed))

    def _draft(
        self,
        responder: Responder,
        certificate: CertificateId,
        status: CertificateStatus,
        nonce: bytes | None,
        now: datetime,
    ) -> bytes:
        this_update = whole_second(now)
        is_revoked = status.status is Status.REVOKED
        revoked_at = (status.revoked_at or this_update).replace(tzinfo=None) if is_revoked else None
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=certificate.issuer.name_hash,
                issuer_key_hash=certificate.issuer.key_hash,
                serial_number=certificate.serial,
                algorithm=certificate.issuer.algorithm.hash(),
                cert_status=_CERT_STATUS[status.status],
                this_update=this_update,
                next_update=this_update + self._policy.ocsp_validity,
                revocation_time=revoked_at,
                revocation_reason=_REASON_FLAGS[status.reason] if is_revoked else None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, responder.certificate)
            .certificates([responder.certificate])
        )
        if nonce is not None:
            builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
        return builder.sign(placeholder_key(responder.signer.public_key), hashes.SHA256()).public_bytes(
            Encoding.DER
        )


_CERT_STATUS = {
    Status.GOOD: ocsp.OCSPCertStatus.GOOD,
    Status.REVOKED: ocsp.OCSPCertStatus.REVOKED,
    Status.UNKNOWN: ocsp.OCSPCertStatus.UNKNOWN,
}

#: `unspecified` is left out, as in lists.
_REASON_FLAGS: Mapping[RevocationReason, x509.ReasonFlags | None] = {
    RevocationReason.UNSPECIFIED: None,
    RevocationReason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
    RevocationReason.CA_COMPROMISE: x509.ReasonFlags.ca_compromise,
    RevocationReason.AFFILIATION_CHANGED: x509.ReasonFlags.affiliation_changed,
    RevocationReason.SUPERSEDED: x509.ReasonFlags.superseded,
    RevocationReason.CESSATION_OF_OPERATION: x509.ReasonFlags.cessation_of_operation,
    RevocationReason.PRIVILEGE_WITHDRAWN: x509.ReasonFlags.privilege_withdrawn,
    RevocationReason.AA_COMPROMISE: x509.ReasonFlags.aa_compromise,
}


class _Kept:
    """A signed response, and what it is sent with."""

    def __init__(
        self, authority: CaName, generation: int, body: bytes, this_update: datetime, validity: timedelta
    ) -> None:
        self.authority = authority
        self.generation = generation
        self.this_update = this_update
        self.renew_at = this_update + validity / 2
        self._body = body
        self._next_update = this_update + validity
        self._etag = f'"{sha256(body).hexdigest()}"'

    def reply(self, now: datetime) -> OcspReply:
        """Return it as it is answered now."""
        max_age = max(0, int((self._next_update - now).total_seconds()))
        return OcspReply(self._body, max_age, self.this_update, self._next_update, self._etag)


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

    def put(self, key: K, kept: _Kept) -> None:
        """Keep a response, and forget the one that was not used for longest."""
        self._kept[key] = kept
        while len(self._kept) > _CACHE_SIZE:
            self._kept.popitem(last=False)


def _error(status: ocsp.OCSPResponseStatus) -> OcspReply:
    return OcspReply(ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER))
