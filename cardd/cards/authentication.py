"""A card proves what it is: a challenge signed by its authentication key, under a certificate of our PKI.

The certificate is read from the card, never from the store: it must be that of this card number, issued for
authentication by the CA of its type, within its validity, and not revoked.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, unique
from typing import NamedTuple

import sqlalchemy as sa
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.cards.errors import CardNotTrustedError
from cardd.cards.identity import certified_card_number, slots
from cardd.cards.records import CardRecord
from cardd.cards.types import CardSerial, CardType
from cardd.igc import der
from cardd.igc.authority import Authority
from cardd.igc.issuing import serial_hex
from cardd.igc.names import CaName
from cardd.igc.profiles import PRIVATE_CARD_SERIAL, PROFILES
from cardd.igc.signer import verifies
from cardd.store import Store
from cardd.store.tables import certificates
from cardd.text import Text
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import KeyId, ObjectInfo, ObjectKind, SignMechanism, Spki

#: Bytes of chance in a challenge.
CHALLENGE_BYTES = 32
#: What a challenge begins with, so that a signature of one can never be taken for anything else.
CHALLENGE_CONTEXT = b"cardd card session challenge v1\x00"

Authorities = Mapping[CaName, Authority]


@unique
class TrustRule(StrEnum):
    """What a card must prove."""

    CERTIFICATE_PRESENT = "certificate_present"
    CARD_NUMBER = "card_number"
    KEY_USAGE = "key_usage"
    CHAIN = "chain"
    VALIDITY = "validity"
    NOT_REVOKED = "not_revoked"
    CHALLENGE = "challenge"


class AuthenticationKey(NamedTuple):
    """The authentication key as found on the card."""

    key_id: KeyId
    certificate: x509.Certificate

    @property
    def spki(self) -> Spki:
        """The public key in DER."""
        public_key = self.certificate.public_key()
        return Spki(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


async def authenticate(
    tokens: TokenOperations, store: Store, authorities: Authorities, card: CardRecord, now: datetime
) -> None:
    """Check a card that is logged in.

    Raises:
        CardNotTrustedError: `rule` says what it did not prove.
        TokenError: the token failed.
    """
    key = find_authentication_key(await tokens.list_objects(card.token_serial), card.type)
    check_certificate(key.certificate, card.serial, card.type, authorities, now)
    await _check_not_revoked(store, key.certificate, authorities, card.type)
    challenge = CHALLENGE_CONTEXT + secrets.token_bytes(CHALLENGE_BYTES)
    mechanism = SignMechanism.SHA256_RSA_PKCS
    signature = await tokens.sign(card.token_serial, key.key_id, mechanism, challenge, spki=key.spki)
    check_challenge(key.certificate, challenge, signature)


def find_authentication_key(objects: tuple[ObjectInfo, ...], card_type: CardType) -> AuthenticationKey:
    """Find the authentication certificate by its label, and its key by the identifier that they share."""
    label = slots(card_type)[0].certificate_label
    for found in objects:
        if found.kind is ObjectKind.CERTIFICATE and found.label == label:
            if found.certificate is None or found.key_id is None:
                break
            try:
                return AuthenticationKey(found.key_id, x509.load_der_x509_certificate(found.certificate))
            except ValueError:
                break
    raise _refused(
        TrustRule.CERTIFICATE_PRESENT,
        "It holds no readable authentication certificate.",
        "Elle ne porte pas de certificat d’authentification lisible.",
    )


def check_certificate(
    certificate: x509.Certificate,
    serial: CardSerial,
    card_type: CardType,
    authorities: Authorities,
    now: datetime,
) -> None:
    """Check an authentication certificate against the card that shows it.

    Raises:
        CardNotTrustedError: `rule` says what is wrong.
    """
    path = _path(certificate, card_type, authorities)
    for issued, issuer in zip(path, [*path[1:], path[-1]], strict=True):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            raise _refused(
                TrustRule.CHAIN,
                "Its certificate was not issued by the CA of its type.",
                "Son certificat n’a pas été émis par l’AC de son type.",
            ) from None
    if not all(each.not_valid_before_utc <= now <= each.not_valid_after_utc for each in path):
        raise _refused(
            TrustRule.VALIDITY,
            "Its certificate is not within its validity.",
            "Son certificat n’est pas dans sa période de validité.",
        )
    _check_purpose(certificate)
    if _card_number_in(certificate) != certified_card_number(serial):
        raise _refused(
            TrustRule.CARD_NUMBER,
            "Its certificate names another card.",
            "Son certificat désigne une autre carte.",
        )


def check_challenge(certificate: x509.Certificate, challenge: bytes, signature: bytes) -> None:
    """Verify a signed challenge with the certificate's key.

    Raises:
        CardNotTrustedError: it does not verify.
    """
    public_key = certificate.public_key()
    try:
        good = verifies(public_key, signature, challenge)  # type: ignore[arg-type]  # other keys raise
    except (AttributeError, TypeError, ValueError):
        good = False
    if not good:
        raise _refused(
            TrustRule.CHALLENGE,
            "Its signature of the challenge does not verify.",
            "Sa signature du défi ne se vérifie pas.",
        )


async def _check_not_revoked(
    store: Store, certificate: x509.Certificate, authorities: Authorities, card_type: CardType
) -> None:
    """Ask the store, which knows a revocation before any list is published."""
    leaf, intermediate, _ = (
        serial_hex(each.serial_number) for each in _path(certificate, card_type, authorities)
    )
    wanted = sa.select(certificates.c.serial, certificates.c.revoked_at).where(
        certificates.c.serial.in_([leaf, intermediate])
    )
    async with store.read() as connection:
        rows = (await connection.execute(wanted)).all()
    if leaf not in {row.serial for row in rows} or any(row.revoked_at is not None for row in rows):
        raise _refused(
            TrustRule.NOT_REVOKED,
            "Its certificate is revoked or not known here.",
            "Son certificat est révoqué ou inconnu ici.",
        )


def _path(
    certificate: x509.Certificate, card_type: CardType, authorities: Authorities
) -> tuple[x509.Certificate, x509.Certificate, x509.Certificate]:
    issuer = PROFILES[slots(card_type)[0].profile].issuer
    return certificate, authorities[issuer].certificate, authorities[issuer.issuer].certificate


def _check_purpose(certificate: x509.Certificate) -> None:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    if usage is None or not usage.digital_signature:
        raise _refused(
            TrustRule.KEY_USAGE,
            "Its certificate is not for authentication.",
            "Son certificat n’est pas destiné à l’authentification.",
        )


def _card_number_in(certificate: x509.Certificate) -> str | None:
    try:
        value = certificate.extensions.get_extension_for_oid(PRIVATE_CARD_SERIAL).value
    except x509.ExtensionNotFound:
        return None
    if not isinstance(value, x509.UnrecognizedExtension) or value.value[:1] != bytes(
        [der.TAG_PRINTABLE_STRING]
    ):
        return None
    text = value.value[2:].decode("ascii", errors="replace")
    return text if len(text) == value.value[1] else None


def _refused(rule: TrustRule, english: str, french: str) -> CardNotTrustedError:
    return CardNotTrustedError(Text(english, french), rule=rule.value)
