"""Complete and delta revocation lists, put together from entries that are encoded once.

Every list of ours covers all reasons and all certificates of its CA, so that it needs no
issuingDistributionPoint (RFC 5280 §5.2.5), and a delta's scope equals its base's without one (§5.2.4).
Numbers are the caller's: they only grow, and a complete list and a delta issued together share theirs.
A revocation is definitive: `removeFromCRL` never occurs. A delta lists what was revoked since the complete list
whose number its deltaCRLIndicator names.

Revoking costs no re-encoding of what is already revoked: `encode_entry` is called once for each revocation, its
bytes are kept beside it, and a list is their concatenation between a head and a tail of a few hundred bytes. Nor
does it cost reading them again: the entries of the last list are taken from it in one piece (`Entries`).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from enum import IntEnum
from typing import NamedTuple, Self, assert_never

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import CRLEntryExtensionOID

from cardd.igc import der
from cardd.igc.authority import Authority
from cardd.igc.dates import whole_second
from cardd.igc.errors import SigningError
from cardd.igc.extensions import Extension, freshest_crl
from cardd.igc.lint import Linter
from cardd.igc.policy import PkiPolicy
from cardd.igc.signer import SigningPublicKey, placeholder_signature, verifies
from cardd.text import Text

#: At most so many entries, the latest, are linted with a list's head and tail; all are encoded the same way.
_LINTED_ENTRIES = 8


class RevocationReason(IntEnum):
    """CRLReason (RFC 5280 §5.3.1), without certificateHold and removeFromCRL: nothing is suspended here."""

    UNSPECIFIED = 0
    KEY_COMPROMISE = 1
    CA_COMPROMISE = 2
    AFFILIATION_CHANGED = 3
    SUPERSEDED = 4
    CESSATION_OF_OPERATION = 5
    PRIVILEGE_WITHDRAWN = 9
    AA_COMPROMISE = 10


class Entries(NamedTuple):
    """The entries of a list: those of a list that was signed before, and others, each from `encode_entry`."""

    earlier: bytes = b""
    """Contents of its revokedCertificates."""
    earlier_count: int = 0
    more: Sequence[bytes] = ()

    @property
    def total(self) -> int:
        """How many there are."""
        return self.earlier_count + len(self.more)

    @property
    def new(self) -> Self:
        """Those that no list has carried yet."""
        return type(self)(more=self.more)

    def followed_by(self, more: Sequence[bytes]) -> Self:
        """Return these and others after them."""
        return self._replace(more=(*self.more, *more))

    def sample(self, most: int) -> Self:
        """Return the last ones of those that are new, or the first of the others where none is."""
        if self.more or not self.earlier:
            return type(self)(more=self.more[-most:])
        end = count = 0
        while count < min(most, self.earlier_count):
            end, count = der.element(self.earlier, end)[1], count + 1
        return type(self)(self.earlier[:end], count)


class SignedCrl(msgspec.Struct, frozen=True, kw_only=True):
    """A revocation list that was just signed."""

    der: bytes
    number: int
    base_number: int | None
    """The base's number in a delta; None in a complete list."""
    this_update: datetime
    next_update: datetime
    entries: int


def entries_of(encoded: bytes, count: int) -> Entries:
    """Return the entries, `count` of them, of a list that was signed here."""
    if count == 0:
        return Entries()
    certificate_list, _ = der.element(encoded, 0)
    at, _ = der.element(encoded, certificate_list)
    for _ in range(5):  # version, signature, issuer, thisUpdate, nextUpdate
        at = der.element(encoded, at)[1]
    start, end = der.element(encoded, at)
    return Entries(encoded[start:end], count)


def encode_entry(serial: int, revoked_at: datetime, reason: RevocationReason) -> bytes:
    """Return one element of revokedCertificates, DER (RFC 5280 §5.1.2.6).

    `revoked_at` is in UTC. The reason `unspecified` is left out, as §5.3.1 asks.
    """
    fields = [der.integer(serial), der.time(revoked_at)]
    if reason is not RevocationReason.UNSPECIFIED:
        code = der.tlv(der.TAG_ENUMERATED, bytes([reason]))
        fields.append(der.sequence(_extension(CRLEntryExtensionOID.CRL_REASON, code)))
    return der.sequence(*fields)


class CrlBuilder:
    """Builds, lints, signs and checks lists under one policy."""

    def __init__(self, policy: PkiPolicy, linter: Linter) -> None:
        self._policy = policy
        self._linter = linter

    async def complete(self, authority: Authority, number: int, entries: Entries, now: datetime) -> SignedCrl:
        """Sign the complete list of `authority`, of all its `entries`.

        `number` is greater than any given out before for this CA; `now` is in UTC. Raises
        `LintRefusedError` before the CA's key is used, and `SigningError` when what comes back does not read
        as a list of that number with a valid signature.
        """
        return await self._signed(authority, _Content(number, None, entries, *self._times(now, delta=False)))

    async def delta(
        self, authority: Authority, number: int, base_number: int, entries: Entries, now: datetime
    ) -> SignedCrl:
        """Sign the delta of `authority` on its complete list `base_number`: the `entries` since; else as above."""
        return await self._signed(
            authority, _Content(number, base_number, entries, *self._times(now, delta=True))
        )

    def _times(self, now: datetime, *, delta: bool) -> tuple[datetime, datetime]:
        this_update = whole_second(now)
        return this_update, this_update + (
            self._policy.delta_validity if delta else self._policy.crl_validity
        )

    async def _signed(self, authority: Authority, content: "_Content") -> SignedCrl:
        extensions = _extensions(authority, self._policy, content)
        public_key = authority.signer.public_key
        issuer = authority.certificate.subject
        sample = content._replace(entries=content.entries.sample(_LINTED_ENTRIES))
        draft = _tbs(issuer, public_key, sample, extensions)
        await self._linter.check_crl(_list(draft, public_key, placeholder_signature(public_key)))
        tbs = await asyncio.to_thread(_tbs, issuer, public_key, content, extensions)
        signature = await authority.signer.sign(tbs)
        readable = _tbs(issuer, public_key, content._replace(entries=content.entries.new), extensions)
        encoded = await asyncio.to_thread(_checked_list, tbs, readable, public_key, signature, content.number)
        return SignedCrl(
            der=encoded,
            number=content.number,
            base_number=content.base_number,
            this_update=content.this_update,
            next_update=content.next_update,
            entries=content.entries.total,
        )


class _Content(NamedTuple):
    number: int
    base_number: int | None
    entries: Entries
    this_update: datetime
    next_update: datetime


_TAG_EXTENSIONS = 0xA0
_TRUE = bytes.fromhex("0101FF")
_VERSION_2 = bytes.fromhex("020101")
#: AlgorithmIdentifiers: sha256WithRSAEncryption with its NULL (RFC 4055 §5), ecdsa-with-SHA256 (RFC 5758 §3.2).
_SHA256_WITH_RSA = bytes.fromhex("300D06092A864886F70D01010B0500")
_ECDSA_WITH_SHA256 = bytes.fromhex("300A06082A8648CE3D040302")
#: The arc id-ce, under which all extensions of lists are: 2.5.29.
_ID_CE = bytes.fromhex("551D")


def _tbs(
    issuer: x509.Name,
    public_key: SigningPublicKey,
    content: _Content,
    extensions: Sequence[Extension],
) -> bytes:
    """Return the TBSCertList (RFC 5280 §5.1.2); without entries, revokedCertificates is absent."""
    encoded = [
        _extension(ext.value.oid, ext.value.public_bytes(), critical=ext.critical) for ext in extensions
    ]
    return der.sequence(
        _VERSION_2,
        _signature_algorithm(public_key),
        issuer.public_bytes(),
        der.time(content.this_update),
        der.time(content.next_update),
        der.sequence(content.entries.earlier, *content.entries.more) if content.entries.total else b"",
        der.tlv(_TAG_EXTENSIONS, der.sequence(*encoded)),
    )


def _extensions(authority: Authority, policy: PkiPolicy, content: _Content) -> list[Extension]:
    extensions = [
        Extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(authority.key_identifier)),
        Extension(x509.CRLNumber(content.number)),
    ]
    if content.base_number is None:
        extensions.append(Extension(freshest_crl(policy.delta_url(authority.name))))
    else:
        extensions.append(Extension(x509.DeltaCRLIndicator(content.base_number), critical=True))
    return extensions


def _checked_list(
    tbs: bytes, readable: bytes, public_key: SigningPublicKey, signature: bytes, number: int
) -> bytes:
    """Return the signed list, once its signature verifies and the library reads it: the part `readable` of it.

    Entries of an earlier list were read back when they were new; reading a million takes a tenth of a second.
    """
    # The library's is_signature_valid encodes the list anew: a tenth of a second for 100,000 entries.
    if _number(_list(readable, public_key, signature)) != number or not verifies(public_key, signature, tbs):
        raise SigningError(
            Text(
                "The signed list does not read back with its number and a valid signature.",
                "La liste signée ne se relit pas avec son numéro et une signature valide.",
            ),
        )
    return _list(tbs, public_key, signature)


def _number(encoded: bytes) -> int | None:
    """Return the cRLNumber of a list, or None when it does not read as a list with one."""
    try:
        extensions = x509.load_der_x509_crl(encoded).extensions
        return extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (ValueError, x509.ExtensionNotFound):
        return None


def _list(tbs: bytes, public_key: SigningPublicKey, signature: bytes) -> bytes:
    no_unused_bits = b"\x00"
    return der.sequence(
        tbs, _signature_algorithm(public_key), der.tlv(der.TAG_BIT_STRING, no_unused_bits, signature)
    )


def _extension(oid: x509.ObjectIdentifier, value: bytes, *, critical: bool = False) -> bytes:
    return der.sequence(_oid(oid), _TRUE if critical else b"", der.tlv(der.TAG_OCTET_STRING, value))


def _oid(oid: x509.ObjectIdentifier) -> bytes:
    return der.tlv(der.TAG_OBJECT_IDENTIFIER, _ID_CE, bytes([int(oid.dotted_string.removeprefix("2.5.29."))]))


def _signature_algorithm(public_key: SigningPublicKey) -> bytes:
    match public_key:
        case rsa.RSAPublicKey():
            return _SHA256_WITH_RSA
        case ec.EllipticCurvePublicKey():
            return _ECDSA_WITH_SHA256
        case _:
            assert_never(public_key)
