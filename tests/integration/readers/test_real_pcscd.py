"""`Readers` with pcscd, vpcd and virtual cards."""

import asyncio
import contextlib
import importlib
import threading
from collections.abc import AsyncIterator, Callable

from cardd.readers.atr import CardGeneration
from cardd.readers.names import ReaderName
from cardd.readers.pcsc import ReaderStatus, SystemPcsc
from cardd.readers.registry import Readers
from cardd.readers.serial import CardSerial, ReadingOutcome, read_card_number
from cardd.readers.threads import in_own_thread
from cardd.readers.types import (
    CardIdentified,
    CardInserted,
    CardRemoved,
    ReaderAdded,
    ReaderCondition,
    ReaderRemoved,
    ServiceDown,
    ServiceUp,
)
from cardd.virtualcard import (
    SECOND_PORT,
    ConfinedPcscd,
    ConnectionLost,
    Generation,
    MuteAtPowerOn,
    Silent,
    When,
)
from cardd.virtualcard.vpcd import Control, ReaderClosedError, VpcdLink
from tests.support.pcsc import BANK_CARD, CPS3, CPS4
from tests.support.pcscd import FIRST_READER, SECOND_READER, virtual_card
from tests.support.readers import Told

FIRST, SECOND = ReaderName(FIRST_READER), ReaderName(SECOND_READER)
STARTED = [ServiceUp(), ReaderAdded(FIRST), ReaderAdded(SECOND)]
READ_BINARY = 0xB0
A, B = CardSerial("11111111"), CardSerial("22222222")


def cps3(reader: ReaderName, serial: str | None) -> CardInserted:
    return CardInserted(reader, CPS3, CardGeneration.CPS3, CardSerial(serial) if serial else None)


async def test_insertion_and_removal_are_told_within_100_ms_of_pcscd_s_notice(
    pcscd: ConfinedPcscd, readers: Readers, told: Told
) -> None:
    await readers.start()
    assert await told.next(3) == STARTED
    card = virtual_card(pcscd.connector(), A)
    for move, expected in ((card.insert, cps3(FIRST, A)), (card.remove, CardRemoved(FIRST, A))):
        notice = asyncio.ensure_future(_next_notice(FIRST))
        await asyncio.sleep(0.1)
        await move()
        noticed_at = await notice
        assert await told.next() == [expected]
        assert told.times[-1] - noticed_at < 0.1


async def test_a_swap_within_50_ms_for_a_card_with_the_same_atr_is_told(
    pcscd: ConfinedPcscd, readers: Readers, told: Told
) -> None:
    await readers.start()
    first, second = virtual_card(pcscd.connector(), A), virtual_card(pcscd.connector(), B)
    await first.insert()
    assert await told.next(4) == [*STARTED, cps3(FIRST, A)]
    await first.remove()
    await asyncio.sleep(0.05)
    await second.insert()
    assert await told.next(2) == [CardRemoved(FIRST, A), cps3(FIRST, B)]
    await second.remove()


async def test_two_readers_hold_a_card_each(pcscd: ConfinedPcscd, readers: Readers, told: Told) -> None:
    await readers.start()
    await told.next(3)
    first, second = virtual_card(pcscd.connector(), A), virtual_card(pcscd.connector(SECOND_PORT), B)
    await asyncio.gather(first.insert(), second.insert())
    assert {event.reader: event for event in await told.next(2) if isinstance(event, CardInserted)} == {
        FIRST: cps3(FIRST, A),
        SECOND: cps3(SECOND, B),
    }
    await first.remove()
    assert await told.next() == [CardRemoved(FIRST, A)]
    assert [state.serial for state in readers.states()] == [None, B]
    await second.remove()
    assert await told.next() == [CardRemoved(SECOND, B)]


async def test_pcscd_is_absent_at_the_start_then_killed_and_restarted_twice(
    stopped_pcscd: ConfinedPcscd, readers: Readers, told: Told
) -> None:
    await readers.start()
    (down,) = await told.next()
    assert isinstance(down, ServiceDown)
    await stopped_pcscd.start()
    assert await told.next(3) == STARTED
    card = virtual_card(stopped_pcscd.connector(), A)
    await card.insert()
    assert await told.next() == [cps3(FIRST, A)]
    for _ in range(2):
        await stopped_pcscd.kill()
        *gone, down = await told.next(4)
        assert gone == [CardRemoved(FIRST, A), ReaderRemoved(FIRST), ReaderRemoved(SECOND)]
        assert isinstance(down, ServiceDown)
        await stopped_pcscd.restart()
        events = await told.next(4)
        assert sorted(events, key=str) == sorted([*STARTED, cps3(FIRST, A)], key=str)
    await card.remove()
    assert await told.next() == [CardRemoved(FIRST, A)]


async def test_a_mute_card_is_told_as_mute(pcscd: ConfinedPcscd, readers: Readers, told: Told) -> None:
    await readers.start()
    await told.next(3)
    card = virtual_card(pcscd.connector(), A, faults=[MuteAtPowerOn()])
    await card.insert()
    assert await told.next() == [CardInserted(FIRST, b"", CardGeneration.UNKNOWN, None, is_mute=True)]
    assert readers.states()[0].state is ReaderCondition.MUTE
    await card.remove()
    assert await told.next() == [CardRemoved(FIRST, None)]


async def test_a_cps4_is_identified_and_an_unknown_card_left_alone(
    pcscd: ConfinedPcscd, readers: Readers, told: Told
) -> None:
    await readers.start()
    await told.next(3)
    async with virtual_card(pcscd.connector(), A, generation=Generation.CPS4):
        assert await told.next() == [CardInserted(FIRST, CPS4, CardGeneration.CPS4, None)]
    assert await told.next() == [CardRemoved(FIRST, None)]
    async with _strange_card(pcscd) as commands:
        assert await told.next() == [CardInserted(FIRST, BANK_CARD, CardGeneration.UNKNOWN, None)]
    assert await told.next() == [CardRemoved(FIRST, None)]
    assert commands == []


async def test_a_card_pulled_while_its_serial_is_read_is_told_inserted_and_removed(
    pcscd: ConfinedPcscd, readers: Readers, told: Told
) -> None:
    await readers.start()
    await told.next(3)
    card = virtual_card(pcscd.connector(), A, faults=[ConnectionLost(When(ins=READ_BINARY))])
    await card.insert()
    assert await told.next(2) == [cps3(FIRST, None), CardRemoved(FIRST, None)]
    await card.remove()
    await readers.settled()


async def test_a_card_that_never_answers_is_told_at_the_deadline_and_its_removal_too(
    pcscd: ConfinedPcscd, told: Told
) -> None:
    readers = Readers(SystemPcsc(), serial_deadline_seconds=0.5)
    readers.on_change(told)
    async with readers:
        await told.next(3)
        card = virtual_card(pcscd.connector(), A, faults=[Silent(When(ins=READ_BINARY))])
        await card.insert()
        assert await told.next() == [cps3(FIRST, None)]
        await card.remove()
        assert await told.next() == [CardRemoved(FIRST, None)]
        await readers.settled()


async def test_a_card_another_program_holds_is_identified_when_given_free(
    pcscd: ConfinedPcscd, readers: Readers, told: Told
) -> None:
    card = virtual_card(pcscd.connector(), A)
    await card.insert()
    give_free = await in_own_thread(lambda: _take_for_itself(FIRST), "other program")
    counter = await in_own_thread(lambda: _status(FIRST).counter, "look")
    reading = await in_own_thread(lambda: read_card_number(SystemPcsc(), FIRST, counter), "reading")
    assert reading.outcome is ReadingOutcome.IN_USE
    await readers.start()
    assert sorted(await told.next(4), key=str) == sorted([*STARTED, cps3(FIRST, None)], key=str)
    await in_own_thread(give_free, "other program")
    assert await told.next() == [CardIdentified(FIRST, A)]
    await card.remove()
    assert await told.next() == [CardRemoved(FIRST, A)]


async def test_nothing_is_left_running_after_a_stop(pcscd: ConfinedPcscd, told: Told) -> None:
    before = set(threading.enumerate())
    for _ in range(3):
        async with Readers(SystemPcsc()) as readers:
            leave = readers.on_change(told)
            await told.next(3)
            leave()
    left = set(threading.enumerate()) - before
    for thread in left:
        thread.join(2)
    assert not any(thread.is_alive() for thread in left)


async def _next_notice(reader: ReaderName) -> float:
    """Return the loop's time at which pcscd tells another client of a change in `reader`."""
    loop = asyncio.get_running_loop()

    def wait() -> float:
        api = SystemPcsc()
        context = api.establish_context()
        try:
            (status,) = api.wait_for_change(context, [ReaderStatus(reader)], 0)
            api.wait_for_change(context, [status.acknowledged], 10)
            return loop.time()
        finally:
            api.release_context(context)

    return await in_own_thread(wait, "other client")


def _status(reader: ReaderName) -> ReaderStatus:
    api = SystemPcsc()
    context = api.establish_context()
    try:
        (status,) = api.wait_for_change(context, [ReaderStatus(reader)], 0)
        return status
    finally:
        api.release_context(context)


def _take_for_itself(reader: ReaderName) -> Callable[[], None]:
    """Connect EXCLUSIVE once the card is there; return what lets it go."""
    scard = importlib.import_module("smartcard.scard")
    _, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_SYSTEM)
    api = SystemPcsc()
    status = ReaderStatus(reader)
    while not status.atr:
        (status,) = api.wait_for_change(context, [status.acknowledged], 10)
    result, card, _ = scard.SCardConnect(
        context, reader, scard.SCARD_SHARE_EXCLUSIVE, scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
    )
    assert result == 0

    def give_free() -> None:
        scard.SCardDisconnect(card, scard.SCARD_LEAVE_CARD)
        scard.SCardReleaseContext(context)

    return give_free


@contextlib.asynccontextmanager
async def _strange_card(pcscd: ConfinedPcscd) -> AsyncIterator[list[bytes]]:
    """A card of another family: it has an ATR; gives the commands it was sent."""
    link = VpcdLink(await pcscd.connector()())
    commands: list[bytes] = []

    async def serve() -> None:
        with contextlib.suppress(ReaderClosedError):
            while True:
                payload = await link.receive()
                if payload == bytes([Control.GET_ATR]):
                    await link.send(BANK_CARD)
                elif len(payload) > 1:
                    commands.append(payload)
                    await link.send(b"\x6d\x00")

    serving = asyncio.create_task(serve())
    try:
        yield commands
    finally:
        serving.cancel()
        await asyncio.wait([serving])
        link.close()
