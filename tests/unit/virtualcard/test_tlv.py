"""BER-TLV parsing and building."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.virtualcard.tlv import Tlv, TlvError

TAGS = st.sampled_from([0x30, 0x4D, 0x7F41, 0xBF8101, 0xBFFB01, 0x80])


@given(st.lists(st.tuples(TAGS, st.binary(max_size=400))))
def test_what_was_built_is_parsed_back(parts: list[tuple[int, bytes]]) -> None:
    encoded = b"".join(Tlv(tag, value) for tag, value in parts)
    assert [(each.tag, each.value) for each in Tlv.parse_all(encoded)] == parts


@given(st.binary(max_size=300))
def test_the_parser_raises_nothing_but_its_own_error(data: bytes) -> None:
    with contextlib.suppress(TlvError):
        Tlv.parse_all(data)


@pytest.mark.parametrize("broken", ["30", "3005", "300401", "3080", "30830000", "7F", "BFFFFF01", "308101"])
def test_an_object_cut_short_is_refused(broken: str) -> None:
    with pytest.raises(TlvError):
        Tlv.parse_all(bytes.fromhex(broken))


def test_an_object_is_its_bytes() -> None:
    assert Tlv(0x7F41, Tlv(0x80, b"\x08"), Tlv(0x81, b"\x04")) == bytes.fromhex("7F4106800108810104")


def test_one_object_of_another_tag_is_refused() -> None:
    with pytest.raises(TlvError):
        Tlv.parse_one(bytes.fromhex("3000"), 0x31)
    with pytest.raises(TlvError):
        Tlv.parse_one(bytes.fromhex("30003000"), 0x30)


def test_a_value_beyond_65535_bytes_is_refused() -> None:
    with pytest.raises(TlvError):
        Tlv(0x30, bytes(0x10000))
