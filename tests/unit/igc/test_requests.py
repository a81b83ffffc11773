"""Certification requests that carry the evidence of where their key is."""

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pyasn1.codec.der import decoder

from cardd.igc.requests import ATTESTATION_OID, make_request
from tests.support.igc import MemorySigner, ec_signer


@pytest.mark.parametrize("kind", ["ec", "rsa"])
async def test_a_request_proves_possession_and_carries_one_statement(kind: str) -> None:
    signer = (
        ec_signer()
        if kind == "ec"
        else MemorySigner(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    )
    request = await make_request("MY-SERVICE", "header.payload.signature", signer)
    assert request.is_signature_valid
    assert request.public_key() == signer.public_key
    assert request.subject.rfc4514_string() == "CN=MY-SERVICE"
    (attribute,) = request.attributes
    assert attribute.oid == ATTESTATION_OID
    attestations, rest = decoder.decode(attribute.value)  # the bundle's content: its SEQUENCE is left out
    assert rest == b""
    assert len(attestations) == 1
    statement = attestations[0]
    assert str(statement[0]) == "1.3.6.1.4.1.32473.1.2"
    assert str(statement[1]) == "header.payload.signature"
