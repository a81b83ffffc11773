"""What a card may be made of."""

import dataclasses

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from cardd.virtualcard import Activity, CardHolder, CardProfile, CardSerial, KeyRole, SoftwareCardKey
from cardd.virtualcard.content import luhn_digit
from tests.support.virtualcard import content, private_key

PEM = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()


def test_the_luhn_digit_is_that_of_the_standard() -> None:
    assert luhn_digit("7992739871") == 3


@pytest.mark.parametrize("serial", ["123", "123456789", "1234567a", "²²²²²²²²"])
def test_a_serial_has_eight_digits(serial: str) -> None:
    with pytest.raises(ValueError, match="8 digits"):
        CardProfile(CardSerial(serial))


def test_activities_are_numbered_one_to_sixteen() -> None:
    with pytest.raises(ValueError, match="1 to 16"):
        CardHolder("A", "B", "8", activities={17: Activity("1", "a", "b")})


@pytest.mark.parametrize("pin", ["123", "123456789", "12a4"])
def test_codes_have_four_to_eight_digits(pin: str) -> None:
    with pytest.raises(ValueError, match="four to eight"):
        dataclasses.replace(content(), first_pin=pin)


def test_one_key_for_each_role() -> None:
    whole = content()
    with pytest.raises(ValueError, match="each role"):
        dataclasses.replace(whole, credentials=whole.credentials * 2)
    assert dataclasses.replace(whole, credentials=()).credential(KeyRole.SIGNATURE) is None
    assert whole.credential(KeyRole.SIGNATURE) is whole.credentials[1]


def test_a_key_is_rsa_of_2048_bits() -> None:
    key = SoftwareCardKey.from_pem(private_key(KeyRole.SIGNATURE).private_bytes(*PEM))
    assert key.public_numbers == private_key(KeyRole.SIGNATURE).public_key().public_numbers()
    with pytest.raises(ValueError, match="2048"):
        SoftwareCardKey.from_pem(ec.generate_private_key(ec.SECP256R1()).private_bytes(*PEM))
    with pytest.raises(ValueError, match="2048"):
        SoftwareCardKey(rsa.generate_private_key(public_exponent=65537, key_size=3072))


def test_no_code_and_no_key_is_in_the_representation() -> None:
    assert "1234'" not in repr(content())
    assert "SoftwareCardKey" not in repr(content())
