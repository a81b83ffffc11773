"""A card proves what it is: a challenge signed by its authentication key, under a certificate of our PKI.

The certificate is read from the card, never from the store: it must be that of this card number, issued for
authentication by the CA of its type, within its validity, and not revoked.
"""

import secrets
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum, unique

import sqlalchemy as sa
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.cards.errors import CardNotTrustedError
from cardd.cards.identity import certified_card_number, slots
from cardd.cards.recognition import card_number_in, recognise
from cardd.cards.records import CardRecord
from cardd.cards.signing import Signable, for_module
from cardd.cards.types import ISSUED_TYPES, CardRole, CardSerial, CardType
from cardd.igc.authority import Authority
from cardd.igc.issuing import serial_hex
from cardd.igc.names import CaName
from cardd.igc.profiles import PROFILES
from cardd.igc.signer import verifies
from cardd.store import Store
from cardd.store.tables import certificates
from cardd.text import Text
from cardd_pkcs11.types import SignMechanism, Spki

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


async def authenticate(card: CardRecord, store: Store, authorities: Authorities, now: datetime) -> None:
    """Check a card that is logged in.

    Raises:
        CardNotTrustedError: `rule` says what it did not prove.
        TokenError: the token failed.
    """
    access = card.reached()
    found = recognise(await access.tokens.list_objects(access.token_serial))
    key = found.credential(CardRole.AUTHENTICATION)
    if key is None:
        raise _refused(
            TrustRule.CERTIFICATE_PRESENT,
            "It holds no readable authentication certificate.",
            "Elle ne porte pas de certificat d’authentification lisible.",
        )
    certificate, card_type = key.certificate, card.type or found.type
    if card_type not in ISSUED_TYPES:
        raise _refused(TrustRule.CHAIN, "Its type is not issued here.", "Son type n’est pas émis ici.")
    check_certificate(certificate, card.serial, card_type, authorities, now)
    await _check_not_revoked(store, certificate, authorities, card_type)
    challenge = CHALLENGE_CONTEXT + secrets.token_bytes(CHALLENGE_BYTES)
    asked = for_module(
        Signable(SignMechanism.SHA256_RSA_PKCS, challenge), card.capabilities, CardRole.AUTHENTICATION
    )
    signature = await access.tokens.sign(
        access.token_serial, key.key_id, asked.mechanism, asked.data, spki=_spki(certificate)
    )
    check_challenge(certificate, challenge, signature)


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
    if card_number_in(certificate) != certified_card_number(serial):
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


def _spki(certificate: x509.Certificate) -> Spki:
    public_key = certificate.public_key()
    return Spki(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def _refused(rule: TrustRule, english: str, french: str) -> CardNotTrustedError:
    return CardNotTrustedError(Text(english, french), rule=rule.value)
