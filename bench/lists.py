"""Large revocation lists to measure with, signed with RSA 4096."""

import random
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from cardd.igc import der
from cardd.igc.crl import RevocationReason, encode_entry
from cardd.revocation.lists import parse
from tests.support.revocation import Ca

_SHA256_WITH_RSA = bytes.fromhex("300D06092A864886F70D01010B0500")


class LargeList(NamedTuple):
    """A list and the serials in it."""

    der: bytes
    serials: list[int]


def rsa_ca() -> Ca:
    """Return a CA with a new RSA-4096 key."""
    return Ca("BENCH CA", rsa.generate_private_key(public_exponent=65537, key_size=4096))


def large_list(ca: Ca, entries: int, now: datetime) -> LargeList:
    """Sign a list of random 16-byte serials, revoked at various times for every reason."""
    numbers = random.Random(entries)  # noqa: S311 (a list for measuring)
    serials = [numbers.getrandbits(127) for _ in range(entries)]
    reasons = list(RevocationReason)
    encoded = [
        encode_entry(serial, now - timedelta(minutes=serial % 500_000), reasons[serial % len(reasons)])
        for serial in serials
    ]
    if not isinstance(ca.key, rsa.RSAPrivateKey):
        raise TypeError("the list is signed with RSA")
    tbs = _with_entries(parse(ca.crl(1, at=now)).tbs, encoded)
    signature = ca.key.sign(tbs, padding.PKCS1v15(), hashes.SHA256())
    signed = der.sequence(tbs, _SHA256_WITH_RSA, der.tlv(der.TAG_BIT_STRING, b"\x00", signature))
    return LargeList(signed, serials)


def _with_entries(model: bytes | memoryview, entries: list[bytes]) -> bytes:
    """Return the TBSCertList of a list of one entry with others in its place."""
    content = bytes(model)
    start, end = der.element(content, 0)
    at = start
    for _ in range(5):  # version, signature, issuer, thisUpdate, nextUpdate
        at = der.element(content, at)[1]
    after = der.element(content, at)[1]
    return der.sequence(content[start:at], der.sequence(*entries), content[after:end])
