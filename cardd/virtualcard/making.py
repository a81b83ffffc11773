"""A virtual card made without a daemon: from given certificates and keys, or from throw-away ones."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from cardd.clock import Clock
from cardd.text import Text
from cardd.virtualcard.content import KEY_BITS, CardSerial, CardType, KeyRole
from cardd.virtualcard.errors import UnfitKeyError
from cardd.virtualcard.stored import StoredActivity, StoredCard, StoredCredential, StoredHolder

DEFAULT_PIN: Final = "1234"
DEFAULT_PUK: Final = "12345678"
_ISSUER: Final = "8025000001"
_VALIDITY: Final = timedelta(days=3 * 365)
_PUBLIC_EXPONENT: Final = 65537
_HOLDER: Final = StoredHolder(
    family_name="TEST",
    given_name="CAMILLE",
    identifier="899700000017",
    profession=10,
    activities=(
        StoredActivity(number=1, structure_id="10B0000017", structure_name="STRUCTURE DE TEST", role="test"),
    ),
    billing="test",
)


@dataclass(frozen=True)
class GivenCredential:
    """A certificate and its key as PEM files hold them."""

    certificate: bytes
    private_key: bytes

    def __repr__(self) -> str:
        return "GivenCredential()"


def make_card(
    clock: Clock,
    *,
    serial: CardSerial | None = None,
    card_type: CardType = CardType.CPS,
    given: Mapping[KeyRole, GivenCredential] | None = None,
    pin: str = DEFAULT_PIN,
) -> StoredCard:
    """Make a card of authentication and signature; what is not given gets a key and a self-signed certificate.

    Raises:
        UnfitKeyError: a given key is not RSA of 2048 bits, or not that of its certificate.
    """
    number = serial or CardSerial(str(10_000_000 + secrets.randbelow(90_000_000)))
    credentials = given or {}
    return StoredCard(
        serial=number,
        type=card_type,
        issuer=_ISSUER,
        authentication_label=f"Certificat d'Authentification {card_type.value}",
        signature_label=f"Certificat de Signature {card_type.value}",
        holder=_HOLDER,
        credentials=tuple(
            _loaded(role, credentials[role]) if role in credentials else _throw_away(role, number, clock)
            for role in (KeyRole.AUTHENTICATION, KeyRole.SIGNATURE)
        ),
        first_pin=pin,
        first_puk=DEFAULT_PUK,
    )


def _loaded(role: KeyRole, given: GivenCredential) -> StoredCredential:
    try:
        certificate = x509.load_pem_x509_certificate(given.certificate)
        key = load_pem_private_key(given.private_key, password=None)
    except (ValueError, TypeError) as error:
        raise _unfit(role, "is not PEM without a password", "n’est pas du PEM sans mot de passe") from error
    if not isinstance(key, rsa.RSAPrivateKey) or key.key_size != KEY_BITS:
        raise _unfit(role, "is not RSA of 2048 bits", "n’est pas une clé RSA de 2048 bits")
    if key.public_key() != certificate.public_key():
        raise _unfit(role, "is not that of the certificate", "n’est pas celle du certificat")
    return _stored(role, certificate, key)


def _throw_away(role: KeyRole, serial: CardSerial, clock: Clock) -> StoredCredential:
    key = rsa.generate_private_key(_PUBLIC_EXPONENT, KEY_BITS)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "cardd virtual card"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{serial} {role.value}"),
        ]
    )
    signs = role is KeyRole.SIGNATURE
    usage = x509.KeyUsage(
        digital_signature=not signs,
        content_commitment=signs,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(clock.now())
        .not_valid_after(clock.now() + _VALIDITY)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return _stored(role, certificate, key)


def _stored(role: KeyRole, certificate: x509.Certificate, key: rsa.RSAPrivateKey) -> StoredCredential:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    return StoredCredential(role=role, certificate=certificate.public_bytes(Encoding.DER), private_key=pem)


def _unfit(role: KeyRole, english: str, french: str) -> UnfitKeyError:
    return UnfitKeyError(
        Text(f"The key for {role.value} {english}.", f"La clé pour {role.value} {french}."), role=role.value
    )
