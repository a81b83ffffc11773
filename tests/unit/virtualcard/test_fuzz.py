"""Whatever the bytes, the card answers a status word and raises nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st

from cardd.virtualcard import Interface
from cardd.virtualcard.wire import Ins, Operation
from tests.support.virtualcard import content, terminal

HEADERS = st.tuples(
    st.sampled_from([0x00, 0x10, 0x0C, 0x80]),
    st.sampled_from(list(Ins)),
    st.sampled_from([*(operation >> 8 for operation in Operation), 0x00, 0x02, 0x04, 0x09, 0x3F, 0x41, 0x9D]),
    st.sampled_from(
        [*(operation & 0xFF for operation in Operation), 0x00, 0x01, 0x04, 0xA4, 0xAA, 0xB6, 0xFF]
    ),
)
BODIES = st.one_of(
    st.just(b""),
    st.binary(min_size=1, max_size=1),
    st.binary(max_size=80).map(lambda data: bytes([len(data)]) + data),
    st.sampled_from(
        [
            "063F000001B001",
            "0DE828BD080F8025000001FF0010",
            "0831323334FFFFFFFF",
            "06840182800102",
            "0A4D087006BF810102A080",
        ]
    ).map(bytes.fromhex),
    st.binary(max_size=300),
)
COMMANDS = st.one_of(
    st.binary(max_size=300), st.builds(lambda header, body: bytes(header) + body, HEADERS, BODIES)
)


@settings(max_examples=400, deadline=None)
@given(st.lists(COMMANDS, min_size=1, max_size=12), st.sampled_from(list(Interface)))
def test_any_commands_get_answers_of_at_least_a_status_word(
    commands: list[bytes], interface: Interface
) -> None:
    card = terminal(card_content=content(interface=interface)).card
    for command in commands:
        answer = card.transmit(command)
        assert 2 <= len(answer) <= 258
        assert answer[-2] & 0xF0 in (0x60, 0x90)
