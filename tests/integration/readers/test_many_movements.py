"""Hundreds of insertions and removals over two readers: nothing lost, nothing doubled."""

import asyncio
import resource
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import pytest

from cardd.readers.names import ReaderName
from cardd.readers.registry import Readers
from cardd.readers.types import CardInserted, CardRemoved, ReadersEvent
from cardd.virtualcard import FIRST_PORT, SECOND_PORT, CardEvent, ConfinedPcscd, VirtualCard
from tests.support.pcscd import FIRST_READER, SECOND_READER, virtual_card

PORTS = {ReaderName(FIRST_READER): FIRST_PORT, ReaderName(SECOND_READER): SECOND_PORT}
MOST_GROWTH_BYTES = 16 << 20


class Movement(NamedTuple):
    """One card into or out of a reader."""

    is_insertion: bool
    serial: str | None


class Comparison:
    """What the cards did and what the readers told, side by side."""

    def __init__(self) -> None:
        self.done: dict[ReaderName, list[Movement]] = defaultdict(list)
        self.told: dict[ReaderName, list[Movement]] = defaultdict(list)
        self._more = asyncio.Event()

    async def hear(self, event: ReadersEvent) -> None:
        if isinstance(event, CardInserted | CardRemoved):
            movement = Movement(isinstance(event, CardInserted), event.serial)
            self.told[event.reader].append(movement)
            self._more.set()

    def observer(self, reader: ReaderName, serial: str) -> Callable[[CardEvent], None]:
        def observe(event: CardEvent) -> None:
            self.done[reader].append(Movement(event is CardEvent.INSERTED, serial))
            self._more.set()

        return observe

    async def reach(self, reader: ReaderName, number: int) -> None:
        """Wait until `number` movements of `reader` were done and told."""
        async with asyncio.timeout(20):
            while min(len(self.done[reader]), len(self.told[reader])) < number:
                self._more.clear()
                await self._more.wait()


class Desk:
    """One reader and the cards that go in and out of it, all with the same ATR."""

    def __init__(self, pcscd: ConfinedPcscd, reader: ReaderName, comparison: Comparison) -> None:
        self._connector = pcscd.connector(PORTS[reader])
        self._reader = reader
        self._comparison = comparison
        self._serials = self._numbers()
        self._number = 0

    @staticmethod
    def _numbers() -> Iterator[str]:
        return cycle(str(digit) * 8 for digit in range(10))

    async def insert(self) -> VirtualCard:
        serial = next(self._serials)
        card = virtual_card(self._connector, serial, observer=self._comparison.observer(self._reader, serial))
        await card.insert()
        await self.moved()
        return card

    async def remove(self, card: VirtualCard) -> None:
        await card.remove()
        await self.moved()

    async def moved(self) -> None:
        self._number += 1
        await self._comparison.reach(self._reader, self._number)

    async def move(self, times: int) -> None:
        for _ in range(times // 2):
            await self.remove(await self.insert())


async def test_200_movements_are_told_as_the_cards_made_them(pcscd: ConfinedPcscd, readers: Readers) -> None:
    comparison = Comparison()
    readers.on_change(comparison.hear)
    await readers.start()
    async with asyncio.TaskGroup() as group:
        for reader in PORTS:
            group.create_task(Desk(pcscd, reader, comparison).move(100))
    assert comparison.told == comparison.done
    assert sum(map(len, comparison.told.values())) == 200


@pytest.mark.slow
async def test_1000_movements_and_three_kills_of_pcscd_lose_and_double_nothing(
    pcscd: ConfinedPcscd, readers: Readers
) -> None:
    comparison = Comparison()
    readers.on_change(comparison.hear)
    await readers.start()
    desks = [Desk(pcscd, reader, comparison) for reader in PORTS]
    await asyncio.gather(*(desk.move(20) for desk in desks))
    memory_before = _resident_bytes()
    for _ in range(3):
        await asyncio.gather(*(desk.move(156) for desk in desks))
        cards = await asyncio.gather(*(desk.insert() for desk in desks))
        await pcscd.kill()
        await asyncio.gather(*(desk.moved() for desk in desks))
        await pcscd.restart()
        await asyncio.gather(*(desk.moved() for desk in desks))
        await asyncio.gather(*(desk.remove(card) for desk, card in zip(desks, cards, strict=True)))
    assert comparison.told == comparison.done
    assert sum(map(len, comparison.told.values())) == 1000
    assert _resident_bytes() - memory_before < MOST_GROWTH_BYTES


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
