"""Certificates as PEM text (RFC 7468 §5)."""

import base64
from collections.abc import Iterable


def pem_chain(certificates: Iterable[bytes]) -> bytes:
    """Return DER certificates as one PEM file, in their order (RFC 8555 §9.1: the leaf first)."""
    return b"".join(_pem(der) for der in certificates)


def _pem(der: bytes) -> bytes:
    encoded = base64.b64encode(der)
    lines = [encoded[start : start + 64] for start in range(0, len(encoded), 64)]
    return b"\n".join([b"-----BEGIN CERTIFICATE-----", *lines, b"-----END CERTIFICATE-----", b""])
