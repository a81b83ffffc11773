"""Card sessions: a PIN, a proof, and the end of both at once when the card goes."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from cardd.cards.errors import (
    CardAbsentError,
    CardMechanismUnavailableError,
    CardNotTrustedError,
    CardOpposedError,
    CardRemovedError,
    CardSessionEndedError,
    CardSessionRequiredError,
    CardSessionUnknownError,
    CardUnknownError,
    PinFinalTryError,
    PinIncorrectError,
    PinLockedError,
)
from cardd.cards.sessions import SESSIONS_A_CARD
from cardd.cards.types import (
    CardRole,
    DecryptRequest,
    PinChangeRequest,
    PinState,
    PinView,
    SessionRequest,
    SignRequest,
)
from cardd.errors import CarddError, InvalidFieldsError
from cardd.igc.crl import RevocationReason
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import HostLostError
from tests.support.cards import CardRoom

RIGHT = SessionRequest(pin="1234")
WRONG = SessionRequest(pin="9999")
CONSENTING = SessionRequest(pin="9999", accept_final_try=True)
TO_SIGN = SignRequest(role=CardRole.AUTHENTICATION, data=b"hello")


async def _tries(room: CardRoom, serial: str) -> int:
    return (await _pin(room, serial)).tries_left


async def _pin(room: CardRoom, serial: str) -> PinView:
    pin = (await room.cards.get(serial)).pin
    assert pin is not None
    return pin


async def _holding(room: CardRoom, kind: type[protocol.Call[Any]]) -> tuple[asyncio.Event, asyncio.Event]:
    """Make calls of one kind wait; return what tells that one has come, and what lets it go on."""
    reached, released = asyncio.Event(), asyncio.Event()

    async def before(call: protocol.Call[Any]) -> None:
        if isinstance(call, kind):
            reached.set()
            await released.wait()

    room.tokens.before = before
    return reached, released


async def test_a_session_is_opened_with_the_pin_and_says_what_the_card_is_authorised_for(
    room: CardRoom,
) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    assert len(session.id) == 32
    assert session.expires_at == room.clock.now() + timedelta(minutes=60)
    assert [each.id for each in await room.sessions.authorised(session)] == list(card.habilitations)
    assert await room.sessions.get(session.id) == session
    assert ("card.session_opened", f"card:{card.serial}") in await room.events()
    assert session.id not in repr(session)


async def test_the_id_and_the_pin_are_in_no_journal_line_and_no_event(room: CardRoom) -> None:
    card = await room.card(pin="83649271")
    session = await room.sessions.open(card.serial, SessionRequest(pin="83649271"))
    shown = repr([*await room.store.journal(limit=500), *await room.store.events_after(0)])
    assert session.id not in shown
    assert "83649271" not in shown


@pytest.mark.parametrize("pin", ["", "123", "123456789", "12a4", "١٢٣٤", "12 4"])
async def test_a_malformed_pin_costs_no_try_and_does_not_reach_the_card(room: CardRoom, pin: str) -> None:
    card = await room.card()
    seen = len(room.tokens.pins_seen)
    with pytest.raises(InvalidFieldsError) as refused:
        await room.sessions.open(card.serial, SessionRequest(pin=pin))
    assert [problem.field for problem in refused.value.fields] == ["pin"]
    assert await _tries(room, card.serial) == 3
    assert len(room.tokens.pins_seen) == seen


async def test_wrong_pins_walk_low_final_locked_and_the_final_try_needs_consent(room: CardRoom) -> None:
    card = await room.card()
    states = []
    for request, expected in (
        (WRONG, PinIncorrectError),
        (WRONG, PinIncorrectError),
        (WRONG, PinFinalTryError),
        (RIGHT, PinFinalTryError),
        (CONSENTING, PinIncorrectError),
        (CONSENTING, PinLockedError),
        (SessionRequest(pin="1234", accept_final_try=True), PinLockedError),
    ):
        with pytest.raises(expected) as refused:
            await room.sessions.open(card.serial, request)
        states.append(((await _pin(room, card.serial)).state, refused.value.data["tries_left"]))
    assert states == [
        (PinState.LOW, 2),
        (PinState.FINAL, 1),
        (PinState.FINAL, 1),
        (PinState.FINAL, 1),
        (PinState.LOCKED, 0),
        (PinState.LOCKED, 0),
        (PinState.LOCKED, 0),
    ]
    assert room.tokens.pins_seen.count("9999") == 3
    assert [event for event, _ in await room.events()].count("card.pin_blocked") == 1


async def test_the_right_pin_gives_the_tries_back(room: CardRoom) -> None:
    card = await room.card()
    with pytest.raises(PinIncorrectError) as refused:
        await room.sessions.open(card.serial, WRONG)
    assert (refused.value.status, refused.value.data) == (403, {"tries_left": 2})
    await room.sessions.open(card.serial, RIGHT)
    assert await _tries(room, card.serial) == 3


async def test_ten_wrong_pins_at_once_cost_exactly_their_tries(room: CardRoom) -> None:
    card = await room.card()
    outcomes = await asyncio.gather(
        *(room.sessions.open(card.serial, CONSENTING) for _ in range(10)), return_exceptions=True
    )
    assert sorted(getattr(outcome, "code", "") for outcome in outcomes) == (
        ["pin_incorrect"] * 3 + ["pin_locked"] * 7
    )
    assert room.tokens.pins_seen.count("9999") == 3


async def test_a_host_that_dies_with_the_pin_gives_no_try_back(room: CardRoom) -> None:
    card = await room.card()

    async def die(call: protocol.Call[Any]) -> None:
        if isinstance(call, protocol.Login):
            raise HostLostError("killed")

    room.tokens.before = die
    with pytest.raises(CarddError) as refused:
        await room.sessions.open(card.serial, RIGHT)
    assert refused.value.code == "token_host_unavailable"
    assert await _tries(room, card.serial) == 2


async def test_a_try_is_committed_before_the_card_sees_the_pin(room: CardRoom) -> None:
    card = await room.card()
    reached, released = await _holding(room, protocol.Login)
    opening = asyncio.create_task(room.sessions.open(card.serial, RIGHT))
    await reached.wait()
    assert await _tries(room, card.serial) == 2
    released.set()
    await opening
    assert await _tries(room, card.serial) == 3


async def test_a_caller_that_goes_away_does_not_hide_the_outcome_of_its_try(room: CardRoom) -> None:
    card = await room.card()
    reached, released = await _holding(room, protocol.Login)
    opening = asyncio.create_task(room.sessions.open(card.serial, RIGHT))
    await reached.wait()
    opening.cancel()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    room.tokens.before = None
    await room.sessions.stop()
    assert await _tries(room, card.serial) == 3


async def test_unknown_absent_and_opposed_cards_are_told_apart(room: CardRoom) -> None:
    card, other = await room.card(), await room.card()
    with pytest.raises(CardUnknownError):
        await room.sessions.open("00000000", RIGHT)
    await room.cards.remove(card.serial)
    with pytest.raises(CardAbsentError):
        await room.sessions.open(card.serial, RIGHT)
    await room.cards.oppose(other.serial, "lost")
    with pytest.raises(CardOpposedError):
        await room.sessions.open(other.serial, RIGHT)
    assert room.tokens.pins_seen.count("1234") == 0


async def test_two_sessions_stand_side_by_side_and_the_card_is_logged_out_with_the_last(
    room: CardRoom,
) -> None:
    card = await room.card()
    (token,) = room.tokens.tokens.values()
    first, second = [await room.sessions.open(card.serial, RIGHT) for _ in range(2)]
    await room.sessions.close(card.serial, first.id)
    await room.sessions.sign(card.serial, TO_SIGN, second)
    with pytest.raises(CardSessionEndedError) as ended:
        await room.sessions.sign(card.serial, TO_SIGN, first)
    assert ended.value.data == {"reason": "closed"}
    await room.sessions.close(card.serial)
    assert not token.logged_in
    await room.sessions.close(card.serial)


async def test_a_wrong_pin_resets_the_card_and_ends_its_sessions(room: CardRoom) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    with pytest.raises(PinIncorrectError):
        await room.sessions.open(card.serial, WRONG)
    with pytest.raises(CardSessionEndedError) as ended:
        await room.sessions.get(session.id)
    assert ended.value.data == {"reason": "logged_out"}


async def test_one_session_too_many_ends_the_oldest(room: CardRoom) -> None:
    card = await room.card()
    opened = [await room.sessions.open(card.serial, RIGHT) for _ in range(SESSIONS_A_CARD + 1)]
    with pytest.raises(CardSessionEndedError) as ended:
        await room.sessions.get(opened[0].id)
    assert ended.value.data == {"reason": "replaced"}
    for session in opened[1:]:
        await room.sessions.get(session.id)


async def test_a_session_expires_and_logs_its_card_out(room: CardRoom) -> None:
    card = await room.card()
    (token,) = room.tokens.tokens.values()
    session = await room.sessions.open(card.serial, RIGHT)
    room.clock.advance(timedelta(minutes=60))
    await room.sessions.expire_due()
    assert not token.logged_in
    with pytest.raises(CardSessionEndedError) as ended:
        await room.sessions.get(session.id)
    assert ended.value.data == {"reason": "expired"}


async def test_a_clock_that_is_set_back_prolongs_no_session(room: CardRoom) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    room.clock.set_by(timedelta(days=-40))
    room.clock.advance(timedelta(minutes=59))
    await room.sessions.get(session.id)
    room.clock.advance(timedelta(minutes=1))
    with pytest.raises(CardSessionEndedError):
        await room.sessions.get(session.id)


async def test_an_expired_session_is_refused_even_before_anyone_swept(room: CardRoom) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    room.clock.advance(timedelta(minutes=60))
    with pytest.raises(CardSessionEndedError):
        await room.sessions.sign(card.serial, TO_SIGN, session)


async def test_an_unknown_session_and_one_of_another_card_are_refused(room: CardRoom) -> None:
    card, other = await room.card(), await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    with pytest.raises(CardSessionUnknownError):
        await room.sessions.get("0" * 32)
    with pytest.raises(CardSessionRequiredError):
        await room.sessions.sign(other.serial, TO_SIGN, session)


async def test_a_withdrawn_habilitation_is_gone_from_open_sessions(room: CardRoom) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    (habilitation,) = await room.sessions.authorised(session)
    await room.habilitations.withdraw(habilitation.id)
    assert await room.sessions.authorised(session) == ()


async def test_removal_ends_the_session_and_cuts_a_pending_signature_short(room: CardRoom) -> None:
    card = await room.card()
    (token,) = room.tokens.tokens.values()
    session = await room.sessions.open(card.serial, RIGHT)
    reached, _ = await _holding(room, protocol.Sign)
    signing = asyncio.create_task(room.sessions.sign(card.serial, TO_SIGN, session))
    await reached.wait()
    await room.cards.remove(card.serial)
    with pytest.raises(CardRemovedError):
        await signing
    with pytest.raises(CardSessionEndedError) as ended:
        await room.sessions.get(session.id)
    assert ended.value.data == {"reason": "removed"}
    assert not token.logged_in


async def test_removal_while_the_pin_is_being_tried_leaves_no_session_and_no_login(room: CardRoom) -> None:
    card = await room.card()
    (token,) = room.tokens.tokens.values()
    reached, released = await _holding(room, protocol.Login)
    opening = asyncio.create_task(room.sessions.open(card.serial, RIGHT))
    await reached.wait()
    await room.cards.remove(card.serial)
    with pytest.raises(CardRemovedError):
        await opening
    released.set()
    await room.sessions.stop()
    assert not token.logged_in
    assert await _tries(room, card.serial) == 3


async def test_opposition_ends_the_session(room: CardRoom) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    await room.cards.oppose(card.serial, "stolen")
    with pytest.raises(CardSessionEndedError) as ended:
        await room.sessions.get(session.id)
    assert ended.value.data == {"reason": "opposed"}


async def test_a_lost_login_ends_the_session_and_says_so(room: CardRoom) -> None:
    card = await room.card()
    (token,) = room.tokens.tokens.values()
    session = await room.sessions.open(card.serial, RIGHT)
    token.logged_in = False
    with pytest.raises(CardSessionEndedError) as ended:
        await room.sessions.sign(card.serial, TO_SIGN, session)
    assert ended.value.data == {"reason": "logged_out"}


async def test_a_revoked_authentication_certificate_opens_nothing(room: CardRoom) -> None:
    card = await room.card()
    async with room.store.transaction() as tx:
        await room.pki.revoke_in(tx, card.certificates[0].serial, RevocationReason.KEY_COMPROMISE)
    with pytest.raises(CardNotTrustedError) as refused:
        await room.sessions.open(card.serial, RIGHT)
    assert refused.value.data == {"rule": "not_revoked"}
    (token,) = room.tokens.tokens.values()
    assert not token.logged_in


async def test_a_card_past_its_certificates_validity_opens_nothing(room: CardRoom) -> None:
    card = await room.card()
    room.clock.advance(timedelta(days=3 * 365 + 2))
    with pytest.raises(CardNotTrustedError) as refused:
        await room.sessions.open(card.serial, RIGHT)
    assert refused.value.data == {"rule": "validity"}


async def test_a_card_without_its_private_key_cannot_pass_for_itself(room: CardRoom) -> None:
    card = await room.card()
    (token,) = room.tokens.tokens.values()
    forged = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token.keys = dict.fromkeys(token.keys, forged)
    with pytest.raises(CardNotTrustedError) as refused:
        await room.sessions.open(card.serial, RIGHT)
    assert refused.value.data == {"rule": "challenge"}


async def test_a_card_with_the_objects_of_another_is_refused(room: CardRoom) -> None:
    card, _ = await room.card(), await room.card()
    first, second = room.tokens.tokens.values()
    first.objects, first.keys = second.objects, second.keys
    with pytest.raises(CardNotTrustedError) as refused:
        await room.sessions.open(card.serial, RIGHT)
    assert refused.value.data == {"rule": "card_number"}


async def test_a_signature_verifies_with_the_certificate_that_comes_with_it(room: CardRoom) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    signed = await room.sessions.sign(card.serial, SignRequest(role=CardRole.SIGNATURE, data=b"act"), session)
    assert signed.mechanism == "sha256_rsa_pkcs"
    public_key = x509.load_der_x509_certificate(signed.certificate).public_key()
    assert isinstance(public_key, rsa.RSAPublicKey)
    public_key.verify(signed.signature, b"act", PKCS1v15(), SHA256())


async def test_what_a_key_cannot_do_names_the_modules_that_could(room: CardRoom) -> None:
    card = await room.card()
    session = await room.sessions.open(card.serial, RIGHT)
    with pytest.raises(CardMechanismUnavailableError) as refused:
        request = SignRequest(role=CardRole.SIGNATURE, mechanism="sha512_rsa_pkcs", data=b"act")
        await room.sessions.sign(card.serial, request, session)
    assert refused.value.data == {
        "mechanism": "sha512_rsa_pkcs",
        "role": "signature",
        "module": "softhsm2",
        "modules_that_could": [],
    }
    with pytest.raises(CardMechanismUnavailableError):
        await room.sessions.decrypt(card.serial, DecryptRequest(ciphertext=b"\0" * 256), session)


async def test_the_pin_is_changed_with_the_old_one_which_is_counted(room: CardRoom) -> None:
    card = await room.card()
    with pytest.raises(PinIncorrectError):
        await room.sessions.change_pin(card.serial, PinChangeRequest(old="0000", new="5678"))
    assert await _tries(room, card.serial) == 2
    with pytest.raises(InvalidFieldsError) as refused:
        await room.sessions.change_pin(card.serial, PinChangeRequest(old="1234", new="56"))
    assert [problem.field for problem in refused.value.fields] == ["new"]
    assert await _tries(room, card.serial) == 2
    await room.sessions.change_pin(card.serial, PinChangeRequest(old="1234", new="5678"))
    await room.sessions.open(card.serial, SessionRequest(pin="5678"))
    assert "card.pin_changed" in await room.actions()
    assert (await room.store.verify_journal()).valid
