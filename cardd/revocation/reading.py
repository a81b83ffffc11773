"""Certificates and lists as people hand them over: PEM, DER, or DER in base64."""

import base64
import binascii
import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from cardd.revocation.facts import parsed_certificate

_PEM_BLOCK = re.compile(
    rb"-----BEGIN (?P<label>[A-Z0-9 ]+)-----(?P<body>.*?)-----END (?P=label)-----", re.DOTALL
)
_CERTIFICATE_LABELS = frozenset({b"CERTIFICATE", b"X509 CERTIFICATE", b"TRUSTED CERTIFICATE"})
_LIST_LABELS = frozenset({b"X509 CRL", b"CRL"})
_PKCS7_LABELS = frozenset({b"PKCS7", b"CMS"})


def certificates_in(content: bytes) -> list[bytes]:
    """Return the certificates in `content`, DER, in their order; raises `ValueError` where there is none.

    Taken are DER, PEM, PKCS#7 in either, and any of them in base64.
    """
    found = _certificates(_unwrapped(content))
    for der in found:
        parsed_certificate(der)
    if not found:
        raise ValueError("it holds no certificate")
    return found


def list_in(content: bytes) -> bytes:
    """Return the revocation list in `content`, DER; raises `ValueError` where there is none."""
    plain = _unwrapped(content)
    blocks = [der for label, der in _blocks(plain) if label in _LIST_LABELS]
    der = blocks[0] if blocks else plain
    try:
        x509.load_der_x509_crl(der)
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from None
    return der


def _certificates(content: bytes) -> list[bytes]:
    blocks = _blocks(content)
    if not blocks:
        return _certificates_of_der(content)
    found = []
    for label, der in blocks:
        if label in _CERTIFICATE_LABELS:
            found.append(der)
        elif label in _PKCS7_LABELS:
            found.extend(_certificates_of_der(der))
    return found


def _certificates_of_der(der: bytes) -> list[bytes]:
    try:
        parsed_certificate(der)
    except ValueError:
        return _certificates_of_pkcs7(der)
    return [der]


def _certificates_of_pkcs7(der: bytes) -> list[bytes]:
    try:
        return [each.public_bytes(Encoding.DER) for each in pkcs7.load_der_pkcs7_certificates(der)]
    except (UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise ValueError(str(error)) from None


def _blocks(content: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (block["label"], base64.b64decode(b"".join(block["body"].split())))
        for block in _PEM_BLOCK.finditer(content)
    ]


def _unwrapped(content: bytes) -> bytes:
    """Return what base64 without PEM's lines hides, or `content` itself."""
    if content[:1] == b"\x30" and content[1:2] and content[1] >= 0x80:
        return content
    try:
        return base64.b64decode(b"".join(content.split()), validate=True)
    except binascii.Error:
        return content
