"""Issuing a leaf certificate: subject, profile and public key in; a linted, signed certificate out."""

import re
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import NewType, assert_never

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_public_key

from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.igc.authority import Authority
from cardd.igc.dates import whole_second, years_after
from cardd.igc.errors import KeyNotAllowedError
from cardd.igc.extensions import LeafDetails, leaf_extensions, user_principal_name, with_extensions
from cardd.igc.lint import Linter
from cardd.igc.names import CaName, OrganisationSubject, Subject, subject_name
from cardd.igc.policy import PkiPolicy
from cardd.igc.profiles import (
    PROFILES,
    KeyMedium,
    Profile,
    ProfileName,
    SanKind,
)
from cardd.igc.signer import SigningPublicKey, sign_certificate
from cardd.text import Text
from cardd.vocabulary import Profession
from cardd_pkcs11.types import KeyAlgorithm

#: A certificate's serialNumber, positive. Lower-case hexadecimal in every answer: see `serial_hex`.
SerialNumber = NewType("SerialNumber", int)

RandomBytes = Callable[[int], bytes]

_SERIAL_BYTES = 16
_AUTHORITY_SERIAL_PREFIX = bytes.fromhex("1120")
_CARD_SERIAL = re.compile(r"[0-9]{1,16}/[0-9]{1,16}")


class IssueRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a leaf certificate is to say.

    Proofs of possession, key strength and the rules of forms are checked before it is made; what does not fit
    the profile is refused here, and the syntax of names by the linter.
    """

    profile: ProfileName
    subject: Subject
    public_key: bytes
    """SubjectPublicKeyInfo, DER."""
    serial: SerialNumber
    """From `new_serial`, made unique by the caller's own constraint."""
    medium: KeyMedium = KeyMedium.SOFTWARE
    """Where the private key is (private extension 5)."""
    dns_names: tuple[str, ...] = ()
    """subjectAltName of SERV profiles but SMIME; the first equals the subject's common name."""
    card_serial: str | None = None
    """`<issuer>/<card serial>` on cards, such as `8025000001/2800636234` (private extension 3)."""
    profession: Profession | None = None
    """For CPS cards and offer PS (private extension 7)."""


class IssuedCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """A certificate that was just signed."""

    der: bytes
    serial: SerialNumber
    issuer: CaName
    not_before: datetime
    not_after: datetime


class Issuer:
    """Issues leaf certificates under the CAs given."""

    def __init__(self, policy: PkiPolicy, authorities: Mapping[CaName, Authority], linter: Linter) -> None:
        self._policy = policy
        self._authorities = authorities
        self._linter = linter

    async def issue(self, request: IssueRequest, now: datetime) -> IssuedCertificate:
        """Issue the certificate that `request` describes, valid from the second of `now`.

        Raises `InvalidFieldsError` (subject or profile fields), `KeyNotAllowedError`,
        `AuthorityEndingError`, `LintRefusedError` before the CA's key is used, and `SigningError`.
        """
        profile = PROFILES[request.profile]
        authority = self._authorities[profile.issuer]
        builder = self._builder(request, profile, authority, whole_second(now))
        certificate = await sign_certificate(builder, authority.signer, self._linter.check_certificate)
        return IssuedCertificate(
            der=certificate.public_bytes(Encoding.DER),
            serial=request.serial,
            issuer=authority.name,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )

    def _builder(
        self, request: IssueRequest, profile: Profile, authority: Authority, not_before: datetime
    ) -> x509.CertificateBuilder:
        _check_fields(request, profile)
        public_key = _allowed_key(request.public_key, profile)
        not_after = years_after(not_before, self._policy.validity_years)
        authority.check_outlives(not_after)
        details = LeafDetails(
            public_key=public_key,
            not_before=not_before,
            not_after=not_after,
            medium=request.medium,
            alternative_names=self._alternative_names(request, profile),
            card_serial=request.card_serial,
            profession=request.profession,
        )
        builder = (
            x509.CertificateBuilder()
            .serial_number(request.serial)
            .issuer_name(authority.certificate.subject)
            .subject_name(subject_name(self._policy.country, request.subject))
            .not_valid_before(not_before)
            .not_valid_after(not_after)
            .public_key(public_key)
        )
        return with_extensions(
            builder, leaf_extensions(profile, self._policy, authority.certificate, details)
        )

    def _alternative_names(self, request: IssueRequest, profile: Profile) -> list[x509.GeneralName]:
        common_name = request.subject.common_name
        match profile.subject_alternative_name:
            case SanKind.NONE:
                return []
            case SanKind.DNS_NAMES:
                return [x509.DNSName(name) for name in request.dns_names]
            case SanKind.EMAIL:
                return [x509.RFC822Name(common_name)]
            case SanKind.UPN:
                return [user_principal_name(f"{common_name}@{self._policy.upn_suffix}")]
            case kind:
                assert_never(kind)


def new_serial(random_bytes: RandomBytes = secrets.token_bytes) -> SerialNumber:
    """Return 16 random bytes as a positive number that takes 16 bytes in DER (RFC 5280 §4.1.2.2).

    The top bit is cleared, since an INTEGER is signed; a first byte of zero, which DER would drop,
    becomes one.
    """
    first, *rest = random_bytes(_SERIAL_BYTES)
    return SerialNumber(int.from_bytes(bytes([first & 0x7F or 1, *rest]), "big"))


def new_authority_serial(random_bytes: RandomBytes = secrets.token_bytes) -> SerialNumber:
    """Return the serial of a CA certificate: 18 bytes, `11 20` and 16 random ones, as real CAs have."""
    return SerialNumber(int.from_bytes(_AUTHORITY_SERIAL_PREFIX + random_bytes(_SERIAL_BYTES), "big"))


def serial_hex(serial: int) -> str:
    """Return `serial` in lower-case hexadecimal, whole bytes, without separators."""
    digits = f"{serial:x}"
    return digits.zfill(len(digits) + len(digits) % 2)


def key_kind(public_key: object) -> KeyAlgorithm | None:
    """Return the kind of a public key, or None when no profile allows it."""
    match public_key:
        case rsa.RSAPublicKey():
            name = f"rsa_{public_key.key_size}"
        case ec.EllipticCurvePublicKey():
            name = {"secp256r1": "ec_p256", "secp384r1": "ec_p384"}.get(public_key.curve.name, "")
        case _:
            return None
    return next((kind for kind in KeyAlgorithm if kind.value == name), None)


def _allowed_key(spki: bytes, profile: Profile) -> SigningPublicKey:
    allowed = sorted(kind.value for kind in profile.keys)
    try:
        public_key = load_der_public_key(spki)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyNotAllowedError(
            Text("The public key cannot be read.", "La clé publique est illisible."), allowed=allowed
        ) from error
    if key_kind(public_key) not in profile.keys or not isinstance(public_key, SigningPublicKey):
        raise KeyNotAllowedError(
            Text(
                f"The profile allows {', '.join(allowed)} only.",
                f"Le gabarit n’admet que {', '.join(allowed)}.",
            ),
            allowed=allowed,
        )
    return public_key


def _check_fields(request: IssueRequest, profile: Profile) -> None:
    problems = [
        *_dns_problems(request, profile),
        *_presence_problems("card_serial", request.card_serial, wanted=profile.card_type is not None),
        *_presence_problems("profession", request.profession, wanted=profile.profession),
    ]
    if not isinstance(request.subject, profile.subject):
        problems.append(
            FieldProblem(
                "subject", Text("is of another kind than the profile’s", "n’est pas du type du gabarit")
            )
        )
    if request.card_serial is not None and not _CARD_SERIAL.fullmatch(request.card_serial):
        problems.append(
            FieldProblem(
                "card_serial",
                Text(
                    "must be two numbers with a slash between",
                    "doit être deux nombres séparés par une barre oblique",
                ),
            )
        )
    is_email = profile.subject_alternative_name is SanKind.EMAIL
    if is_email and not ("@" in request.subject.common_name and request.subject.common_name.isascii()):
        problems.append(
            FieldProblem(
                "subject.common_name", Text("must be an e-mail address", "doit être une adresse électronique")
            )
        )
    if problems:
        raise InvalidFieldsError(problems)


def _dns_problems(request: IssueRequest, profile: Profile) -> list[FieldProblem]:
    wanted = profile.subject_alternative_name is SanKind.DNS_NAMES
    problems = _presence_problems("dns_names", request.dns_names or None, wanted=wanted)
    if not all(name.isascii() for name in request.dns_names):
        problems.append(
            FieldProblem("dns_names", Text("must be in ASCII (RFC 5890)", "doit être en ASCII (RFC 5890)"))
        )
    if (
        wanted
        and request.dns_names
        and isinstance(request.subject, OrganisationSubject)
        and (request.dns_names[0] != request.subject.common_name)
    ):
        problems.append(
            FieldProblem(
                "dns_names", Text("must begin with the common name", "doit commencer par le nom commun")
            )
        )
    return problems


def _presence_problems(field: str, value: object | None, *, wanted: bool) -> list[FieldProblem]:
    if wanted and value is None:
        return [FieldProblem(field, Text("is required by the profile", "est exigé par le gabarit"))]
    if not wanted and value is not None:
        return [FieldProblem(field, Text("is not part of the profile", "ne fait pas partie du gabarit"))]
    return []
