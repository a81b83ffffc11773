"""Two real virtual readers, and cards that are put in and out of them by their serials."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cardd.clock import SystemClock
from cardd.virtualcard import CardEvent, CardSerial, VirtualReaders
from cardd.virtualcard.errors import CardFileError, ConfinementUnavailableError, NoFreeReaderError
from cardd.virtualcard.making import make_card
from tests.support.virtualcard import CHEAP

SERIALS = [CardSerial("10000001"), CardSerial("10000002"), CardSerial("10000003")]


class _Log:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, CardEvent]] = []

    def __call__(self, card: CardSerial, reader: str, event: CardEvent) -> None:
        self.lines.append((card, reader, event))


@pytest.fixture
def log() -> _Log:
    return _Log()


@pytest.fixture
async def readers(tmp_path: Path, log: _Log) -> AsyncIterator[VirtualReaders]:
    found = VirtualReaders(
        tmp_path / "pcsc", tmp_path / "cards", SystemClock(), code_cost=CHEAP, observer=log
    )
    try:
        await found.start()
    except ConfinementUnavailableError as error:
        pytest.skip(error.detail.en)
    card = make_card(SystemClock(), serial=SERIALS[0])
    for serial in SERIALS:
        found.folder(serial).write(msgspec.structs.replace(card, serial=serial))
    yield found
    await found.stop()


async def test_cards_take_the_free_readers_and_a_third_is_refused(readers: VirtualReaders) -> None:
    assert readers.serials() == SERIALS
    assert await readers.insert(SERIALS[0]) == "Virtual PCD 00 00"
    assert await readers.insert(SERIALS[1]) == "Virtual PCD 00 01"
    assert await readers.insert(SERIALS[1]) == "Virtual PCD 00 01"
    with pytest.raises(NoFreeReaderError):
        await readers.insert(SERIALS[2])
    assert await readers.remove(SERIALS[0])
    assert not await readers.remove(SERIALS[0])
    assert await readers.insert(SERIALS[2]) == "Virtual PCD 00 00"


async def test_a_card_without_files_is_refused_and_takes_no_reader(readers: VirtualReaders) -> None:
    with pytest.raises(CardFileError):
        await readers.insert(CardSerial("99999999"))
    assert await readers.insert(SERIALS[0]) == "Virtual PCD 00 00"


async def test_a_pcscd_that_ended_is_revived_and_the_card_enters_again(
    readers: VirtualReaders, log: _Log
) -> None:
    await readers.insert(SERIALS[0])
    await readers.wait_until_felt(SERIALS[0])
    await readers.pcscd.kill()
    readers.revive()
    readers.revive()
    while [event for _, _, event in log.lines][-1] is not CardEvent.INSERTED or len(log.lines) < 3:
        await readers.pcscd.ensure()
    assert [event for _, _, event in log.lines] == [
        CardEvent.INSERTED,
        CardEvent.READER_GONE,
        CardEvent.INSERTED,
    ]


async def test_readers_that_were_not_started_hold_no_card(tmp_path: Path) -> None:
    found = VirtualReaders(tmp_path / "pcsc", tmp_path / "cards", SystemClock())
    found.folder(SERIALS[0]).write(make_card(SystemClock(), serial=SERIALS[0]))
    with pytest.raises(NoFreeReaderError, match="No virtual reader runs"):
        await found.insert(SERIALS[0])
    await found.stop()


async def test_a_directory_too_deep_for_a_socket_is_replaced(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    found = VirtualReaders(deep, tmp_path / "cards", SystemClock())
    try:
        environment = await found.start()
    except ConfinementUnavailableError as error:
        pytest.skip(error.detail.en)
    socket = Path(environment["PCSCLITE_CSOCK_NAME"])
    assert socket.is_socket()
    assert not deep.exists()
    await found.stop()
    assert not socket.parent.exists()


async def test_a_child_process_does_not_keep_a_card_in_its_reader(readers: VirtualReaders) -> None:
    connection = await readers.pcscd.connector()()
    with connection:
        assert not connection.get_inheritable()
