"""Answers to reset: the family's own, strange ones, and any bytes at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.readers.atr import CardGeneration, Convention, identify, parse_atr
from cardd.readers.errors import AtrError
from tests.support.pcsc import BANK_CARD, CPS2TER, CPS3, CPS3_CONTACTLESS, CPS4


@pytest.mark.parametrize(
    ("atr", "generation"),
    [
        (CPS2TER, CardGeneration.CPS2TER),
        (CPS3, CardGeneration.CPS3),
        (CPS3_CONTACTLESS, CardGeneration.CPS3_CONTACTLESS),
        (CPS4, CardGeneration.CPS4),
        (BANK_CARD, CardGeneration.UNKNOWN),
        (b"", CardGeneration.UNKNOWN),
    ],
)
def test_each_member_of_the_family_is_identified(atr: bytes, generation: CardGeneration) -> None:
    assert identify(atr) is generation


def test_a_contact_cps3_offers_t0_and_needs_no_checksum() -> None:
    atr = parse_atr(CPS3)
    assert atr.convention is Convention.DIRECT
    assert atr.protocols == (0,)
    assert [(byte.letter, byte.level, byte.value) for byte in atr.interface_bytes] == [
        ("B", 1, 0x00),
        ("D", 1, 0x40),
        ("C", 2, 0x2A),
    ]
    assert atr.historical_bytes.hex() == "001225006480000310009000"
    assert atr.is_checksum_right is None


def test_a_contactless_cps3_offers_t1_and_its_checksum_is_right() -> None:
    atr = parse_atr(CPS3_CONTACTLESS)
    assert atr.protocols == (0, 1)
    assert atr.is_checksum_right is True


def test_a_cps4_offers_t1_and_its_checksum_is_right() -> None:
    atr = parse_atr(CPS4)
    assert atr.protocols == (0, 1)
    assert len(atr.historical_bytes) == 11
    assert atr.is_checksum_right is True


def test_a_wrong_or_missing_checksum_is_told_and_the_card_still_identified() -> None:
    wrong, missing = CPS4[:-1] + b"\x45", CPS4[:-1]
    assert parse_atr(wrong).is_checksum_right is False
    assert parse_atr(missing).is_checksum_right is False
    assert identify(wrong) is identify(missing) is CardGeneration.CPS4


def test_a_card_with_another_clock_rate_is_of_the_same_generation() -> None:
    assert identify(bytes.fromhex("3B1C95") + parse_atr(CPS3).historical_bytes) is CardGeneration.CPS3


def test_a_card_that_differs_in_one_historical_byte_is_unknown() -> None:
    assert identify(CPS3.replace(b"\x03\x10", b"\x03\x11")) is CardGeneration.UNKNOWN


def test_bytes_after_the_end_are_passed_over() -> None:
    assert identify(CPS3 + b"\xff\xff") is CardGeneration.CPS3


def test_t15_is_no_protocol() -> None:
    assert parse_atr(bytes.fromhex("3B80 8F 1F 00 00")).protocols == (0,)


@pytest.mark.parametrize(
    "raw",
    ["", "3B", "3C00", "3BAC", "3BAC0040", "3BAC00402A0012", "3B80", "3B" + "80" * 33, "3B80" + "80" * 31],
)
def test_what_is_no_answer_to_reset_is_refused_in_both_languages(raw: str) -> None:
    with pytest.raises(AtrError) as refusal:
        parse_atr(bytes.fromhex(raw))
    assert "not an answer to reset" in refusal.value.detail.en
    assert "pas une réponse" in refusal.value.detail.fr


@given(st.binary(max_size=40) | st.binary(max_size=38).map(lambda rest: b"\x3b" + rest))
def test_any_bytes_are_parsed_or_refused(raw: bytes) -> None:
    assert identify(raw) in CardGeneration
    try:
        atr = parse_atr(raw)
    except AtrError:
        return
    assert len(atr.historical_bytes) == raw[1] & 0x0F
    assert (
        bytes([raw[1], *(byte.value for byte in atr.interface_bytes)])
        == raw[1 : 2 + len(atr.interface_bytes)]
    )
    assert atr.protocols


@given(
    st.lists(st.tuples(st.integers(0, 15), st.binary(min_size=3, max_size=3)), max_size=3),
    st.binary(max_size=15),
)
def test_an_answer_that_was_put_together_is_taken_apart_again(
    levels: list[tuple[int, bytes]], historical: bytes
) -> None:
    raw = bytearray([0x3B, (0xF0 if levels else 0) | len(historical)])
    for position, (protocol, values) in enumerate(levels, start=1):
        raw += values + bytes([(0xF0 if position < len(levels) else 0) | protocol])
    raw += historical
    if len(raw) <= 33:
        atr = parse_atr(bytes(raw))
        assert atr.historical_bytes == historical
        assert len(atr.interface_bytes) == 4 * len(levels)
