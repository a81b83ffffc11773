"""The frames and messages between client and host."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import (
    Ckr,
    PinIncorrectError,
    ProtocolError,
    TokenError,
    TokenErrorCode,
    error_class,
)
from cardd_pkcs11.types import KeyAlgorithm, KeyId, KeyTemplate, PinFlags, Secret, TokenSerial

SERIAL = TokenSerial("0011223344556677")


def test_a_call_survives_the_wire() -> None:
    call = protocol.GenerateKeyPair(
        serial=SERIAL,
        key_id=KeyId(b"\x00\xff"),
        label="clé",
        algorithm=KeyAlgorithm.EC_P256,
        template=KeyTemplate(sign=True, decrypt=False),
    )
    frame = protocol.encode_request(protocol.Request(7, call))
    [payload] = protocol.FrameBuffer().feed(frame)
    assert protocol.decode_request(payload) == protocol.Request(7, call)


def test_a_pin_survives_the_wire_and_shows_itself_nowhere() -> None:
    call = protocol.Login(serial=SERIAL, pin=Secret("1234"))
    [payload] = protocol.FrameBuffer().feed(protocol.encode_request(protocol.Request(1, call)))
    received = protocol.decode_request(payload).call
    assert isinstance(received, protocol.Login)
    assert received.pin.reveal() == "1234"
    assert "1234" not in f"{received!r} {received} {call!r}"


def test_an_error_survives_the_wire_with_its_code_and_pin_state() -> None:
    flags = PinFlags(initialised=True, count_low=True, final_try=False, locked=False)
    error = PinIncorrectError("cannot log in", ckr=Ckr.PIN_INCORRECT, pin=flags)
    answer = protocol.Answer(3, failure=protocol.Failure.of(error))
    [payload] = protocol.FrameBuffer().feed(protocol.encode_answer(answer))
    with pytest.raises(PinIncorrectError, match="CKR_PIN_INCORRECT") as caught:
        protocol.outcome(protocol.decode_answer(payload), protocol.Ping())
    assert caught.value.pin == flags


@pytest.mark.parametrize("code", TokenErrorCode)
def test_every_error_code_names_its_class(code: TokenErrorCode) -> None:
    assert error_class(code).code is code


def test_an_answer_of_the_wrong_type_is_a_protocol_error() -> None:
    answer = protocol.Answer(1, protocol.encode_value("not bytes"))
    with pytest.raises(ProtocolError):
        protocol.outcome(answer, protocol.ReadData(serial=SERIAL, application="a", label="b"))


def test_a_frame_beyond_the_limit_is_refused_before_it_is_read() -> None:
    header = (protocol.MAXIMUM_FRAME + 1).to_bytes(protocol.HEADER, "big")
    with pytest.raises(ProtocolError, match="larger than the limit"):
        list(protocol.FrameBuffer().feed(header))


def test_no_call_wraps_copies_imports_or_exports_a_key() -> None:
    names = " ".join(kind.__name__.lower() for kind in protocol.Call.__subclasses__())
    for forbidden in ("wrap", "copy", "import", "export", "derive"):
        assert forbidden not in names


@given(st.binary(max_size=400))
def test_garbage_is_a_clean_error(garbage: bytes) -> None:
    for decode in (protocol.decode_request, protocol.decode_answer):
        with contextlib.suppress(ProtocolError):
            decode(garbage)


@given(st.lists(st.binary(max_size=64), max_size=6), st.lists(st.integers(1, 40), min_size=1, max_size=20))
def test_frames_come_out_whole_however_the_stream_is_cut(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(len(payload).to_bytes(4, "big") + payload for payload in payloads)
    buffer, found, position, turn = protocol.FrameBuffer(), list[bytes](), 0, 0
    while position < len(stream):
        step = cuts[turn % len(cuts)]
        found.extend(buffer.feed(stream[position : position + step]))
        position, turn = position + step, turn + 1
    assert found == payloads


@given(st.binary(max_size=300))
def test_a_stream_of_garbage_yields_frames_or_one_clean_error(garbage: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        for payload in protocol.FrameBuffer().feed(garbage):
            protocol.decode_answer(payload)


def test_an_unknown_call_is_refused() -> None:
    with pytest.raises(TokenError):
        protocol.decode_request(b"\x82\xa6number\x01\xa4call\x81\xa4call\xa8wrap_key")
