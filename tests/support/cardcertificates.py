"""Certificates as cards hold them, of any issuer, and the objects that a module shows of them."""

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from cardd_pkcs11.types import KeyId, ObjectInfo, ObjectKind
from tests.support.cards import rsa_key

START = datetime(2026, 1, 1, tzinfo=UTC)
PRIVATE = "1.2.250.1.71.1.2"


def card_certificate(
    issuer: str = "TEST AC IGC-SANTE FORT PERSONNES",
    *,
    medium: int | None = 0x80,
    card_type: int = 0,
    profession: int | None = 10,
    signs_acts: bool = False,
    key: int = 0,
) -> bytes:
    """Return a certificate in DER whose person attributes are one multi-valued RDN."""
    person = x509.RelativeDistinguishedName(
        [
            x509.NameAttribute(NameOID.GIVEN_NAME, "KIT"),
            x509.NameAttribute(NameOID.COMMON_NAME, "899700636234"),
            x509.NameAttribute(NameOID.SURNAME, "DOC0063"),
        ]
    )
    country = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COUNTRY_NAME, "FR")])
    title = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.TITLE, "Médecin")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([country, title, person]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(rsa_key(key).public_key())
        .serial_number(0x1234)
        .not_valid_before(START)
        .not_valid_after(START + timedelta(days=1000))
        .add_extension(_usage(signs_acts=signs_acts), critical=True)
    )
    values = {2: bytes([2, 1, card_type]), 3: b"\x13\x15" + b"8025000001/2800636234"}
    if medium is not None:
        values[5] = bytes([4, 1, medium])
    if profession is not None:
        values[7] = bytes([2, 1, profession])
    for number, value in values.items():
        extension = x509.UnrecognizedExtension(x509.ObjectIdentifier(f"{PRIVATE}.{number}"), value)
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(rsa_key(key), hashes.SHA256()).public_bytes(Encoding.DER)


def shown(kind: ObjectKind, label: str, key_id: bytes, der: bytes | None = None) -> ObjectInfo:
    """Return an object as a module lists it."""
    return ObjectInfo(
        kind=kind, label=label, key_id=KeyId(key_id), private=None, application=None, certificate=der
    )


def card_objects(*certificates: tuple[str, bytes]) -> tuple[ObjectInfo, ...]:
    """Return certificates under these labels, each with a CKA_ID of its own."""
    return tuple(
        shown(ObjectKind.CERTIFICATE, label, bytes([number]), der)
        for number, (label, der) in enumerate(certificates, start=1)
    )


def _usage(*, signs_acts: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_acts,
        content_commitment=signs_acts,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
