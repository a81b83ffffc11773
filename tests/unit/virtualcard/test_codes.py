"""PIN and PUK: tries, their persistence, change and unblocking."""

import stat
from pathlib import Path

import pytest

from cardd.virtualcard import AlreadyLocked, FileStateStore, LastWrongPinAnswers, MemoryStateStore
from cardd.virtualcard.errors import CardStateError
from cardd.virtualcard.state import CardState
from tests.support.virtualcard import Terminal, terminal

WRONG = "00200001 08 30303030FFFFFFFF"
RIGHT = "00200001 08 31323334FFFFFFFF"
STATUS = "0020000100"
PUK = "3132333435363738"
NEW = "35363738FFFFFFFF"


def lock(card: Terminal) -> None:
    assert [card.send(WRONG) for _ in range(3)] == ["63C2", "63C1", "63C0"]


def test_a_wrong_pin_costs_one_try_and_the_right_one_restores_them() -> None:
    card = terminal()
    assert card.send(STATUS) == "63C3"
    assert card.send(WRONG) == "63C2"
    assert card.send(WRONG) == "63C1"
    assert card.send(STATUS) == "63C1"
    assert card.send(RIGHT) == "9000"
    assert card.send(STATUS) == "9000"
    assert card.send(WRONG) == "63C2"


def test_a_wrong_pin_logs_out() -> None:
    card = terminal()
    card.send(RIGHT)
    card.send(WRONG)
    assert card.send(STATUS) == "63C2"


def test_the_third_wrong_pin_blocks_and_the_right_one_no_longer_helps() -> None:
    card = terminal()
    lock(card)
    assert card.send(RIGHT) == "6983"
    assert card.send(STATUS) == "6983"


def test_the_last_wrong_pin_may_answer_blocked_at_once() -> None:
    card = terminal(LastWrongPinAnswers())
    assert [card.send(WRONG) for _ in range(3)] == ["63C2", "63C1", "6983"]


def test_a_pin_without_padding_is_taken_too() -> None:
    assert terminal().send("0020000104 31323334") == "9000"


@pytest.mark.parametrize("pin", ["31", "3132FFFF", "313233343536373839", "FFFFFFFFFFFFFFFF"])
def test_an_impossible_length_costs_no_try(pin: str) -> None:
    card = terminal()
    assert card.send(f"00200001{len(bytes.fromhex(pin)):02X}{pin}") == "6700"
    assert card.send(STATUS) == "63C3"


def test_the_pin_is_changed_for_good() -> None:
    store = MemoryStateStore()
    card = terminal(store=store)
    assert card.send("0024000110" + "31323334FFFFFFFF" + NEW) == "9000"
    again = terminal(store=store)
    assert again.send(RIGHT) == "63C2"
    assert again.send("0020000108" + NEW) == "9000"


def test_a_change_with_a_wrong_old_pin_costs_a_try_and_changes_nothing() -> None:
    card = terminal()
    assert card.send("0024000110" + "30303030FFFFFFFF" + NEW) == "63C2"
    assert card.send("0024000103 313233") == "6700"
    assert card.send(RIGHT) == "9000"


@pytest.mark.parametrize(
    "commands",
    [
        ["002C000110" + PUK + NEW],
        ["0020000208" + PUK, "002C020108" + NEW],
        ["0020000208" + PUK, "00A40404088025000001FF0100", "002C020104 35363738"],
    ],
)
def test_the_puk_unblocks_with_a_new_pin(commands: list[str]) -> None:
    card = terminal()
    lock(card)
    assert all(card.send(command)[:2] in ("90", "61") for command in commands)
    assert card.send(STATUS) == "63C3", "unblocking is no login"
    assert card.send("0020000108" + NEW) == "9000"


@pytest.mark.parametrize("commands", [["002C010108" + PUK], ["0020000208" + PUK, "002C0301"]])
def test_the_puk_unblocks_the_same_pin(commands: list[str]) -> None:
    card = terminal()
    lock(card)
    assert [card.send(command) for command in commands][-1] == "9000"
    assert card.send(RIGHT) == "9000"


def test_nothing_is_unblocked_without_the_puk() -> None:
    card = terminal()
    lock(card)
    assert card.send("002C020108" + NEW) == "6982"
    assert card.send("002C0301") == "6982"
    assert card.send("002C040108" + NEW) == "6A86"
    assert card.send("002C000208" + NEW) == "6A88"


def test_three_wrong_puks_are_the_end() -> None:
    card = terminal()
    lock(card)
    wrong = "002C000110" + "30" * 8 + NEW
    assert [card.send(wrong) for _ in range(4)] == ["63C2", "63C1", "63C0", "6983"]
    assert card.send("002C000110" + PUK + NEW) == "6983"


def test_a_card_may_come_already_locked_and_be_unblocked() -> None:
    card = terminal(AlreadyLocked())
    assert card.send(RIGHT) == "6983"
    assert card.send("002C000110" + PUK + NEW) == "9000"
    assert card.send("0020000108" + NEW) == "9000"


def test_tries_and_cps_data_survive_the_process(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    card = terminal(store=FileStateStore(path))
    card.send(RIGHT)
    card.fetch("00A40904063F000001B001")
    card.send("00D6000003616263")
    card.send(WRONG)
    again = terminal(store=FileStateStore(path))
    assert again.send(STATUS) == "63C2"
    again.fetch("00A40904063F000001B001")
    assert again.send("00B0000003") == "6162639000"


def test_the_state_file_is_its_owners_and_shows_no_code(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    terminal(store=FileStateStore(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert b"1234" not in path.read_bytes()
    state = FileStateStore(path).load()
    assert "tries_left=3" in repr(state)
    assert "digest" not in repr(state)


def test_a_state_file_that_is_none_is_refused_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "card.json"
    path.write_text("{}")
    with pytest.raises(CardStateError) as caught:
        terminal(store=FileStateStore(path))
    assert str(path) in caught.value.detail.en


class RecordingStore(MemoryStateStore):
    """Remembers every state kept, and may refuse."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[CardState] = []
        self.refuses = False

    def save(self, state: CardState) -> None:
        if self.refuses:
            raise FileStateStore(Path("/nowhere"))._unusable("cannot be written", "")
        self.kept.append(state)
        super().save(state)


def test_the_try_is_written_off_before_the_pin_is_compared() -> None:
    store = RecordingStore()
    card = terminal(store=store)
    card.send(RIGHT)
    assert [state.pin.tries_left for state in store.kept] == [3, 2, 3]


def test_a_state_that_cannot_be_written_stops_the_comparison() -> None:
    store = RecordingStore()
    card = terminal(store=store)
    store.refuses = True
    assert card.send(RIGHT) == "6581"
    assert card.send(STATUS) == "63C3"
