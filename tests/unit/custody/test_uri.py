"""`pkcs11:` URIs."""

import re
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.custody.uri import ObjectType, Pkcs11Uri, parse_uri
from cardd_pkcs11.types import KeyId, TokenSerial

#: RFC 7512 §2.3: pk11-pchar and pk11-qchar, without what RFC 3986 reserves.
VALID = re.compile(r"pkcs11:(?:[A-Za-z0-9._~%=;-]*)(?:\?[A-Za-z0-9._~%=&:/-]*)?")


def test_a_key_is_named_as_the_standard_shows() -> None:
    uri = Pkcs11Uri(
        token="My token",
        serial=TokenSerial("4a1c"),
        label="key; 1?",
        key_id=KeyId(b"\x01\xab"),
        type=ObjectType.PRIVATE,
        pin_file=Path("/état/user.pin"),
    )
    assert str(uri) == (
        "pkcs11:token=My%20token;serial=4a1c;object=key%3B%201%3F;id=%01%AB;type=private"
        "?pin-source=file:/%C3%A9tat/user.pin"
    )


def test_absent_attributes_are_left_out() -> None:
    assert str(Pkcs11Uri(serial=TokenSerial("1"))) == "pkcs11:serial=1"


@given(st.text(max_size=40), st.text(max_size=40), st.binary(min_size=1, max_size=20))
def test_whatever_the_names_the_uri_is_valid_and_says_them_back(
    token: str, label: str, key_id: bytes
) -> None:
    uri = str(Pkcs11Uri(token=token, label=label, key_id=KeyId(key_id)))
    assert VALID.fullmatch(uri)
    attributes = dict(part.partition("=")[::2] for part in uri.removeprefix("pkcs11:").split(";"))
    assert unquote(attributes["token"]) == token
    assert unquote(attributes["object"]) == label
    assert unquote_to_bytes(attributes["id"]) == key_id


@given(st.text(max_size=40), st.text(max_size=40), st.binary(min_size=1, max_size=20))
def test_what_was_written_is_read_back(token: str, label: str, key_id: bytes) -> None:
    uri = Pkcs11Uri(token=token, label=label, key_id=KeyId(key_id), type=ObjectType.PRIVATE)
    assert parse_uri(str(uri)) == uri


def test_a_uri_of_another_program_names_its_module_and_its_pin_file() -> None:
    read = parse_uri("pkcs11:model=X;serial=4a1c;id=%01?module-path=/lib/x%20y.so&pin-source=file:/run/pin")
    assert read.serial == "4a1c"
    assert (read.module_path, read.pin_file) == (Path("/lib/x y.so"), Path("/run/pin"))


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("file:key.pem", "begin with pkcs11:"),
        ("pkcs11:token=x", "no id"),
        ("pkcs11:id=%01?pin-value=1234", "use pin-source"),
        ("pkcs11:id=%01;type=public key", "ObjectType"),
    ],
)
def test_a_uri_that_cannot_be_used_says_why_and_shows_no_pin(uri: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        parse_uri(uri)
    assert "1234" not in str(refused.value)
