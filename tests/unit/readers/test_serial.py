"""A card's number, read through a PC/SC in memory."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.readers.errors import CardNumberError, PcscCode, PcscError
from cardd.readers.names import ReaderName
from cardd.readers.serial import CardNumber, CardSerial, ReadingOutcome, parse_ef_sn, read_card_number
from tests.support.pcsc import READ_EF_SN, SELECT_ROOT, FakeCard, FakePcsc, ef_sn

READER = ReaderName("Reader 00 00")


@pytest.fixture
def pcsc() -> FakePcsc:
    return FakePcsc(READER)


def assert_left_as_found(pcsc: FakePcsc) -> None:
    assert (pcsc.open_contexts, pcsc.open_connections, pcsc.transactions) == (0, 0, 0)


def test_the_serial_is_read_with_two_commands_and_no_pin(pcsc: FakePcsc) -> None:
    card = pcsc.insert(READER, FakeCard("00112233"))
    reading = read_card_number(pcsc, READER, 1)
    assert reading.outcome is ReadingOutcome.READ
    assert reading.number == CardNumber("8025000001", CardSerial("00112233"))
    assert card.commands == [SELECT_ROOT, READ_EF_SN]
    assert_left_as_found(pcsc)


def test_an_answer_kept_waiting_is_fetched(pcsc: FakePcsc) -> None:
    answers = {
        READ_EF_SN: b"\x61\x0c",
        bytes.fromhex("00C000000C"): ef_sn("12345678")[:8] + b"\x61\x04",
        bytes.fromhex("00C0000004"): ef_sn("12345678")[8:] + b"\x90\x00",
    }
    pcsc.insert(READER, FakeCard(answers=answers))
    reading = read_card_number(pcsc, READER, 1)
    assert reading.number is not None
    assert reading.number.serial == "12345678"


def test_a_wrong_length_is_corrected(pcsc: FakePcsc) -> None:
    right = READ_EF_SN[:4] + b"\x0b"
    pcsc.insert(READER, FakeCard(answers={READ_EF_SN: b"\x6c\x0b", right: ef_sn("12345678") + b"\x90\x00"}))
    assert read_card_number(pcsc, READER, 1).outcome is ReadingOutcome.READ


@pytest.mark.parametrize(
    "answer", [b"\x6a\x82", b"\x61\x01", b"\x6c\x0c", b"\x90", b"", b"\x90\x00", b"abc\x90\x00"]
)
def test_a_card_that_answers_otherwise_is_refused(pcsc: FakePcsc, answer: bytes) -> None:
    pcsc.insert(READER, FakeCard(answers={READ_EF_SN: answer, bytes.fromhex("00C0000001"): b"\x61\x01"}))
    reading = read_card_number(pcsc, READER, 1)
    assert reading.outcome is ReadingOutcome.REFUSED
    assert reading.number is None
    assert reading.reason
    assert_left_as_found(pcsc)


def test_a_select_that_asks_for_another_length_is_not_repeated_without_its_data(pcsc: FakePcsc) -> None:
    card = pcsc.insert(READER, FakeCard(answers={SELECT_ROOT: b"\x6c\x10"}))
    assert read_card_number(pcsc, READER, 1).outcome is ReadingOutcome.REFUSED
    assert card.commands == [SELECT_ROOT]


def test_a_card_pulled_during_the_reading_is_a_result(pcsc: FakePcsc) -> None:
    pcsc.insert(READER, FakeCard(before_answering=lambda _: pcsc.remove(READER)))
    assert read_card_number(pcsc, READER, 1).outcome is ReadingOutcome.REMOVED
    assert_left_as_found(pcsc)


def test_an_empty_or_missing_reader_is_a_result(pcsc: FakePcsc) -> None:
    assert read_card_number(pcsc, READER, 1).outcome is ReadingOutcome.REMOVED
    assert read_card_number(pcsc, ReaderName("None"), 1).outcome is ReadingOutcome.REMOVED


def test_a_number_read_from_a_card_that_came_meanwhile_is_not_returned(pcsc: FakePcsc) -> None:
    pcsc.insert(READER, FakeCard("11111111"))
    with pcsc.unseen():
        pcsc.remove(READER)
        pcsc.insert(READER, FakeCard("22222222"))
    reading = read_card_number(pcsc, READER, 1)
    assert reading.outcome is ReadingOutcome.REMOVED
    assert reading.number is None


def test_a_card_in_exclusive_use_is_a_result(pcsc: FakePcsc) -> None:
    pcsc.insert(READER)
    pcsc.set_exclusive(READER, to=True)
    assert read_card_number(pcsc, READER, 1).outcome is ReadingOutcome.IN_USE


def test_a_service_that_is_down_is_a_result(pcsc: FakePcsc) -> None:
    pcsc.kill()
    assert read_card_number(pcsc, READER, 1).outcome is ReadingOutcome.FAILED


def test_a_card_reset_by_another_program_is_read_again(pcsc: FakePcsc) -> None:
    failures = [PcscError(PcscCode.RESET_CARD, "SCardTransmit")]

    def reset_once(_: bytes) -> None:
        if failures:
            raise failures.pop()

    pcsc.insert(READER, FakeCard(before_answering=reset_once))
    assert read_card_number(pcsc, READER, 1).outcome is ReadingOutcome.READ
    assert_left_as_found(pcsc)


def test_a_card_that_is_reset_again_and_again_is_given_up(pcsc: FakePcsc) -> None:
    def reset(_: bytes) -> None:
        raise PcscError(PcscCode.RESET_CARD, "SCardTransmit")

    pcsc.insert(READER, FakeCard(before_answering=reset))
    assert read_card_number(pcsc, READER, 1).outcome is ReadingOutcome.FAILED
    assert_left_as_found(pcsc)


@given(st.binary(max_size=16) | st.binary(min_size=10, max_size=10).map(lambda rest: b"\x5a\x0a" + rest))
def test_any_content_of_ef_sn_is_a_number_or_refused(content: bytes) -> None:
    number = None
    with contextlib.suppress(CardNumberError):
        number = parse_ef_sn(content)
    assert number is None or bytes.fromhex(number.issuer + number.serial) == content[2:11]


@given(st.from_regex(r"[0-9]{8}", fullmatch=True).filter(str.isascii))
def test_every_serial_is_read_back(serial: str) -> None:
    assert parse_ef_sn(ef_sn(serial)).serial == serial
