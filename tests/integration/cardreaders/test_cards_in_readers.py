"""Virtual cards in real readers through OpenSC: recognised, used, and gone when they are pulled."""

import asyncio
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from cardd.cards.errors import (
    CardAbsentError,
    CardMechanismUnavailableError,
    CardNotAcceptedError,
    CardRemovedError,
    CardSessionEndedError,
    CardUnknownError,
    PinFinalTryError,
    PinIncorrectError,
    PinLockedError,
    PukIncorrectError,
)
from cardd.cards.keyuse import AUTHENTICATION_CONTEXT
from cardd.cards.types import (
    AuthenticationRequest,
    CardEnvironment,
    CardRole,
    CardSerial,
    CardType,
    CardView,
    DecryptRequest,
    PinChangeRequest,
    PinState,
    SessionPurpose,
    SignRequest,
    UnblockRequest,
)
from cardd.virtualcard import (
    SECOND_PORT,
    ConnectionLost,
    Generation,
    MemoryStateStore,
    Silent,
    Slow,
    VirtualCard,
    When,
)
from cardd.virtualcard.wire import Ins
from tests.support.cardreaders import ReaderRoom
from tests.support.pcscd import FIRST_READER, SECOND_READER, virtual_card
from tests.support.virtualcard import CHEAP, SERIAL, content

TO_SIGN = SignRequest(role=CardRole.AUTHENTICATION, data=b"Ordonnance no 42")
DIES = When(ins=Ins.INTERNAL_AUTHENTICATE)


def public_key(card: CardView, role: CardRole = CardRole.AUTHENTICATION) -> rsa.RSAPublicKey:
    der = next(each.certificate for each in card.certificates if each.role is role)
    key = x509.load_der_x509_certificate(der).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


async def pin_of(room: ReaderRoom, serial: str) -> tuple[PinState, int]:
    pin = (await room.cards.get(serial)).pin
    assert pin is not None
    return pin.state, pin.tries_left


def foreign(room: ReaderRoom, serial: str = SERIAL) -> VirtualCard:
    """Make a card of nobody's PKI, for the second reader."""
    connector = room.virtual.pcscd.connector(SECOND_PORT)
    return VirtualCard(content(serial=serial), MemoryStateStore(), connector=connector, code_cost=CHEAP)


async def test_an_inserted_card_says_who_it_is_and_by_which_module(room: ReaderRoom) -> None:
    card = await room.card(type=CardType.CPE, last_name="MARTIN", first_name="Léa")
    assert card.holder is not None
    assert (card.type, card.generation, card.medium) == (CardType.CPE, "CPS3", "virtual")
    assert (card.reader, card.present, card.module) == (FIRST_READER, True, "opensc")
    assert (card.holder.last_name, card.holder.first_name) == ("MARTIN", "Léa")
    assert [each.role for each in card.certificates] == [CardRole.AUTHENTICATION, CardRole.SIGNATURE]
    assert (card.environment, card.problem) == (CardEnvironment.TEST, None)
    assert await pin_of(room, card.serial) == (PinState.OK, 3)
    first, second = await room.presence.readers()
    assert (first.name, first.state, first.card, first.generation) == (
        FIRST_READER,
        "present",
        card.serial,
        "cps3",
    )
    assert (second.name, second.state, second.card) == (SECOND_READER, "empty", None)


async def test_a_session_shows_what_the_keys_can_do_and_they_do_it(room: ReaderRoom) -> None:
    card = await room.card()
    session = await room.open(card.serial)
    authorised = await room.sessions.authorised(session)
    assert [habilitation.id for habilitation in authorised] == list(card.habilitations)
    able = (await room.cards.get(card.serial)).capabilities
    assert [(each.role, each.operation, each.mechanisms, each.module) for each in able] == [
        (CardRole.AUTHENTICATION, "sign", ("rsa_pkcs", "sha256_rsa_pkcs"), "opensc"),
        (CardRole.AUTHENTICATION, "decrypt", ("rsa_pkcs",), "opensc"),
    ]
    signed = await room.sessions.sign(card.serial, TO_SIGN, session)
    public_key(card).verify(signed.signature, b"Ordonnance no 42", PKCS1v15(), SHA256())
    digest = SignRequest(role=CardRole.AUTHENTICATION, digest=hashlib.sha256(b"Ordonnance no 42").digest())
    assert (await room.sessions.sign(card.serial, digest, session)).signature == signed.signature
    answer = await room.sessions.authenticate(
        card.serial, AuthenticationRequest(challenge=b"c" * 32), session
    )
    assert answer.signed == AUTHENTICATION_CONTEXT + b"c" * 32
    public_key(card).verify(answer.signature, answer.signed, PKCS1v15(), SHA256())
    cryptogram = public_key(card).encrypt(b"a session key", PKCS1v15())
    opened = await room.sessions.decrypt(card.serial, DecryptRequest(ciphertext=cryptogram), session)
    assert opened.plaintext == b"a session key"


async def test_the_signature_key_is_refused_naming_the_module_that_could(room: ReaderRoom) -> None:
    card = await room.card()
    session = await room.open(card.serial)
    with pytest.raises(CardMechanismUnavailableError) as refused:
        await room.sessions.sign(card.serial, SignRequest(role=CardRole.SIGNATURE, data=b"an act"), session)
    assert refused.value.data == {
        "mechanism": "sha256_rsa_pkcs",
        "role": "signature",
        "module": "opensc",
        "modules_that_could": ["cryptolib-cps"],
    }


async def test_data_objects_are_read_and_activities_only_in_a_session(room: ReaderRoom) -> None:
    card = await room.card(last_name="MARTIN", first_name="Léa")
    before = await room.cards.data(card.serial)
    assert (before.last_name, before.first_name, before.profession) == ("MARTIN", "Léa", 10)
    assert (before.complete, before.activities) == (False, ())
    await room.open(card.serial)
    after = await room.cards.data(card.serial)
    assert [activity.number for activity in after.activities] == [1, 3]
    assert (after.complete, after.identity.serial) == (True, card.serial)


async def test_wrong_pins_walk_to_the_lock_and_the_puk_opens_it(room: ReaderRoom) -> None:
    card = await room.card()
    seen = []
    for _ in range(2):
        with pytest.raises(PinIncorrectError) as wrong:
            await room.open(card.serial, "0000")
        seen.append((wrong.value.data["tries_left"], *await pin_of(room, card.serial)))
    assert seen == [(2, PinState.LOW, 2), (1, PinState.FINAL, 1)]
    with pytest.raises(PinFinalTryError):
        await room.open(card.serial)
    with pytest.raises(PinIncorrectError) as last:
        await room.open(card.serial, "0000", accept_final_try=True)
    assert last.value.data["tries_left"] == 0
    assert await pin_of(room, card.serial) == (PinState.LOCKED, 0)
    with pytest.raises(PinLockedError):
        await room.open(card.serial, accept_final_try=True)
    with pytest.raises(PukIncorrectError):
        await room.sessions.unblock_pin(card.serial, UnblockRequest(puk="87654321", new="4321"))
    await room.sessions.unblock_pin(card.serial, UnblockRequest(puk="12345678", new="4321"))
    assert await pin_of(room, card.serial) == (PinState.OK, 3)
    await room.open(card.serial, "4321")


async def test_the_pin_state_is_the_card_s_own_at_its_next_insertion(room: ReaderRoom) -> None:
    card = await room.card()
    with pytest.raises(PinIncorrectError):
        await room.open(card.serial, "0000")
    away = await room.cards.remove(card.serial)
    assert away.pin is not None
    assert away.pin.tries_left == 2
    await room.cards.insert(card.serial)
    assert await pin_of(room, card.serial) == (PinState.LOW, 2)


async def test_the_pin_is_changed_and_the_card_logged_out_again(room: ReaderRoom) -> None:
    card = await room.card()
    with pytest.raises(PinIncorrectError):
        await room.sessions.change_pin(card.serial, PinChangeRequest(old="0000", new="987654"))
    await room.sessions.change_pin(card.serial, PinChangeRequest(old="1234", new="987654"))
    assert not (await room.cards.data(card.serial)).complete
    with pytest.raises(PinIncorrectError):
        await room.open(card.serial, "1234")
    await room.open(card.serial, "987654")


async def test_after_removal_nothing_answers_and_a_reinserted_card_wants_its_pin(room: ReaderRoom) -> None:
    card = await room.card()
    session = await room.open(card.serial)
    removed = await room.cards.remove(card.serial)
    assert (removed.present, removed.reader) == (False, None)
    with pytest.raises(CardSessionEndedError) as ended:
        await room.sessions.sign(card.serial, TO_SIGN, session)
    assert ended.value.data == {"reason": "removed"}
    with pytest.raises(CardAbsentError):
        await room.cards.data(card.serial)
    await room.cards.insert(card.serial)
    assert not (await room.cards.data(card.serial)).complete
    with pytest.raises(CardSessionEndedError):
        await room.sessions.sign(card.serial, TO_SIGN, session)
    again = await room.open(card.serial)
    await room.sessions.sign(card.serial, TO_SIGN, again)


async def test_a_card_pulled_in_the_middle_of_a_signature_is_told_at_once(room: ReaderRoom) -> None:
    card = await room.card(insert=False)
    # The first signature is the proof that opens the session.
    room.virtual_cards.set_faults(card.serial, [Silent(When(ins=Ins.INTERNAL_AUTHENTICATE, skip=1))])
    await room.cards.insert(card.serial)
    session = await room.open(card.serial)
    pending = asyncio.create_task(room.sessions.sign(card.serial, TO_SIGN, session))
    await _pulled_meanwhile(room, card.serial, pending)


async def test_a_card_pulled_in_the_middle_of_a_login_is_told_at_once(room: ReaderRoom) -> None:
    card = await room.card(insert=False)
    room.virtual_cards.set_faults(card.serial, [Slow(0.4, When(ins=Ins.VERIFY))])
    await room.cards.insert(card.serial)
    await room.cards.get(card.serial)
    pending = asyncio.create_task(room.open(card.serial))
    await _pulled_meanwhile(room, card.serial, pending)


async def _pulled_meanwhile(room: ReaderRoom, serial: CardSerial, pending: asyncio.Task[object]) -> None:
    """Pull a card while something waits on it; its answer comes within 200 ms of the reader's notice."""
    loop = asyncio.get_running_loop()
    noticed: list[float] = []

    async def departed(_: CardSerial) -> None:
        pass

    room.inserted.when_removed(lambda _: noticed.append(loop.time()), departed)
    await asyncio.sleep(0.3)
    assert not pending.done()
    removing = asyncio.create_task(room.cards.remove(serial))
    with pytest.raises(CardRemovedError):
        await pending
    answered = loop.time()
    await removing
    assert answered - noticed[0] < 0.2
    room.virtual_cards.set_faults(serial, [])
    await room.cards.insert(serial)
    session = await room.open(serial)
    await room.sessions.sign(serial, TO_SIGN, session)


async def test_a_card_that_falls_out_inside_a_signature_is_removed_not_a_failure(room: ReaderRoom) -> None:
    card = await room.card(insert=False)
    room.virtual_cards.set_faults(card.serial, [ConnectionLost(When(ins=Ins.INTERNAL_AUTHENTICATE, skip=1))])
    await room.cards.insert(card.serial)
    session = await room.open(card.serial)
    with pytest.raises(CardRemovedError):
        await room.sessions.sign(card.serial, TO_SIGN, session)
    await room.told("card.removed", f"card:{card.serial}")
    assert not (await room.cards.get(card.serial)).present


async def test_two_readers_hold_two_cards_that_do_not_disturb_each_other(room: ReaderRoom) -> None:
    first, second = await room.card(), await room.card()
    assert (first.reader, second.reader) == (FIRST_READER, SECOND_READER)
    sessions = [await room.open(card.serial) for card in (first, second)]
    await room.cards.remove(first.serial)
    signed = await room.sessions.sign(second.serial, TO_SIGN, sessions[1])
    public_key(second).verify(signed.signature, b"Ordonnance no 42", PKCS1v15(), SHA256())
    with pytest.raises(CardSessionEndedError):
        await room.sessions.sign(first.serial, TO_SIGN, sessions[0])


async def test_a_card_swapped_for_another_with_the_same_atr_is_not_taken_for_it(room: ReaderRoom) -> None:
    first, second = await room.card(), await room.card(insert=False)
    session = await room.open(first.serial)
    await room.virtual.remove(first.serial)  # type: ignore[arg-type]  # eight digits in both rooms
    await room.cards.insert(second.serial)
    shown = {card.serial: (card.present, card.reader) for card in await room.cards.list()}
    assert shown == {first.serial: (False, None), second.serial: (True, FIRST_READER)}
    with pytest.raises(CardSessionEndedError):
        await room.sessions.sign(first.serial, TO_SIGN, session)
    other = await room.open(second.serial)
    signed = await room.sessions.sign(second.serial, TO_SIGN, other)
    public_key(second).verify(signed.signature, b"Ordonnance no 42", PKCS1v15(), SHA256())


async def test_a_card_of_another_pki_is_shown_and_opens_no_session(room: ReaderRoom) -> None:
    async with foreign(room) as card:
        await room.told("card.inserted", f"card:{SERIAL}")
        view = await room.cards.get(SERIAL)
        assert (view.medium, view.environment, view.module) == ("pcsc", CardEnvironment.UNKNOWN, "opensc")
        assert (view.issued_at, view.habilitations) == (None, ())
        for purpose in SessionPurpose:
            with pytest.raises(CardNotAcceptedError) as refused:
                await room.open(SERIAL, purpose=purpose)
            assert refused.value.data["environment"] == "unknown"
        assert await pin_of(room, SERIAL) == (PinState.OK, 3)
        await room.sessions.change_pin(SERIAL, PinChangeRequest(old="1234", new="4321"))
        await card.remove()
        await room.told("card.removed", f"card:{SERIAL}")
        with pytest.raises(CardUnknownError):
            await room.cards.get(SERIAL)


async def test_a_card_of_a_generation_that_is_only_recognised_is_told_by_its_atr(room: ReaderRoom) -> None:
    async with virtual_card(room.virtual.pcscd.connector(), "11111111", generation=Generation.CPS4):
        await _until_present(room)
        reader = (await room.presence.readers())[0]
        assert (reader.state, reader.card, reader.generation) == ("present", None, "cps4")
        assert reader.atr == "3b9b1880010012250064800401000090" + "44"
        assert await room.cards.list() == []


async def _until_present(room: ReaderRoom) -> None:
    async with asyncio.timeout(20):
        with room.bus.subscribe() as events:
            while "present" not in {reader.state for reader in await room.presence.readers()}:
                await events.next()


async def test_events_tell_of_the_reader_the_card_and_its_reading(room: ReaderRoom) -> None:
    card = await room.card()
    await room.told("card.read", f"card:{card.serial}")
    await room.cards.remove(card.serial)
    told = [
        each.type.value for each in await room.store.events_after(0) if each.subject.endswith(card.serial)
    ]
    assert told == ["card.created", "card.inserted", "card.read", "card.removed"]


async def test_pcscd_restarted_ends_the_session_and_the_card_is_there_again(room: ReaderRoom) -> None:
    card = await room.card()
    session = await room.open(card.serial)
    await room.virtual.pcscd.restart()
    await room.told("card.removed", f"card:{card.serial}")
    with pytest.raises(CardSessionEndedError):
        await room.sessions.sign(card.serial, TO_SIGN, session)
    await _there_again(room, card.serial)
    again = await room.open(card.serial)
    await room.sessions.sign(card.serial, TO_SIGN, again)


async def _there_again(room: ReaderRoom, serial: str) -> None:
    async with asyncio.timeout(20):
        with room.bus.subscribe() as events:
            while not (await room.cards.get(serial)).present:
                await events.next()
