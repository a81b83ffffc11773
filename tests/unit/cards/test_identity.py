"""Serials, card numbers and holders."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.cards.identity import (
    ISSUER_IDENTIFICATION,
    card_number,
    free_test_rpps,
    luhn_digit,
    new_serial,
    serial_file,
    serial_of_label,
    token_label,
)
from cardd.cards.types import CardSerial
from cardd.orders.identifiers import has_luhn_digit, make_test_rpps, rpps

SERIALS = st.integers(0, 99_999_999).map(lambda number: CardSerial(f"{number:08d}"))


def test_the_card_number_of_the_published_test_card_is_made_from_its_serial() -> None:
    assert card_number(CardSerial("80063623")) == "2800636234"


@given(SERIALS)
def test_a_serial_file_has_twelve_bytes_whose_number_ends_with_its_luhn_digit(serial: CardSerial) -> None:
    content = serial_file(serial)
    number = content[2:].hex()
    assert len(content) == 12
    assert content[:2] == b"\x5a\x0a"
    assert number[:10] == ISSUER_IDENTIFICATION
    assert number[10:18] == serial
    assert number.endswith("f")
    assert has_luhn_digit(number[:19])


@given(SERIALS)
def test_a_label_gives_its_serial_back(serial: CardSerial) -> None:
    assert serial_of_label(token_label(serial)) == serial
    assert len(token_label(serial).encode()) <= 32


@pytest.mark.parametrize(
    "label", ["cardd PKI", "CPS 1234567", "CPS 123456789", "CPS 12345678\n", "xCPS 12345678"]
)
def test_other_labels_are_no_test_card_s(label: str) -> None:
    assert serial_of_label(label) is None


@given(st.text("0123456789", min_size=1, max_size=19))
def test_luhn_digits_agree_with_the_rule_for_identifiers(number: str) -> None:
    complete = f"{number}{luhn_digit(number)}"
    assert has_luhn_digit(complete) == (set(complete) != {"0"})


def test_a_new_serial_and_a_free_rpps_are_not_taken() -> None:
    serial = new_serial(())
    assert len(serial) == 8
    assert new_serial({serial}) != serial
    taken = {make_test_rpps(index) for index in range(100_000) if index != 4711}
    assert free_test_rpps(taken) == make_test_rpps(4711)
    assert rpps(free_test_rpps(())) is not None
