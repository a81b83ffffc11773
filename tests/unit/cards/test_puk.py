"""Test cards on software tokens are unblocked with their PUK, whose tries the daemon counts."""

import pytest

from cardd.cards.errors import CardSessionEndedError, PinIncorrectError, PukIncorrectError, PukLockedError
from cardd.cards.types import CardRole, SessionRequest, SignRequest, UnblockRequest
from cardd.errors import InvalidFieldsError
from tests.support.cards import CardRoom

RIGHT = UnblockRequest(puk="12345678", new="4321")
WRONG = UnblockRequest(puk="87654321", new="4321")


async def _block(room: CardRoom, serial: str) -> None:
    for _ in range(3):
        with pytest.raises(PinIncorrectError):
            await room.sessions.open(serial, SessionRequest(pin="0000", accept_final_try=True))


async def test_the_puk_gives_a_blocked_card_a_new_pin_and_all_its_tries(room: CardRoom) -> None:
    card = await room.card()
    await _block(room, card.serial)
    await room.sessions.unblock_pin(card.serial, RIGHT)
    pin = (await room.cards.get(card.serial)).pin
    assert pin is not None
    assert pin.tries_left == 3
    with pytest.raises(PinIncorrectError):
        await room.sessions.open(card.serial, SessionRequest(pin="1234"))
    await room.sessions.open(card.serial, SessionRequest(pin="4321"))
    assert "card.pin_unblocked" in await room.actions()


async def test_wrong_puks_are_counted_to_the_end_and_the_right_one_gives_them_back(room: CardRoom) -> None:
    card = await room.card()
    for left in (2, 1):
        with pytest.raises(PukIncorrectError) as wrong:
            await room.sessions.unblock_pin(card.serial, WRONG)
        assert wrong.value.data == {"tries_left": left}
    await room.sessions.unblock_pin(card.serial, RIGHT)
    for _ in range(3):
        with pytest.raises(PukIncorrectError):
            await room.sessions.unblock_pin(card.serial, WRONG)
    with pytest.raises(PukLockedError):
        await room.sessions.unblock_pin(card.serial, RIGHT)


async def test_a_malformed_puk_costs_no_try(room: CardRoom) -> None:
    card = await room.card()
    for _ in range(4):
        with pytest.raises(InvalidFieldsError) as refused:
            await room.sessions.unblock_pin(card.serial, UnblockRequest(puk="1", new="x"))
    assert [problem.field for problem in refused.value.fields] == ["puk", "new"]
    await room.sessions.unblock_pin(card.serial, RIGHT)


async def test_unblocking_ends_the_sessions_of_the_card(room: CardRoom) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, SessionRequest(pin="1234"))
    await room.sessions.unblock_pin(card.serial, RIGHT)
    with pytest.raises(CardSessionEndedError):
        request = SignRequest(role=CardRole.AUTHENTICATION, data=b"act")
        await room.sessions.sign(card.serial, request, session)
