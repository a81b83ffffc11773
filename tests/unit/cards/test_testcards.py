"""Test cards: made whole or not at all, inserted, removed, opposed at their term."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from cryptography import x509

from cardd.cards.errors import (
    CardAbsentError,
    CardAlreadyOpposedError,
    CardAlreadyPresentError,
    CardUnknownError,
)
from cardd.cards.identity import certified_card_number
from cardd.cards.presence import Presence
from cardd.cards.types import CardRole, CardType, SessionRequest, TestCardRequest
from cardd.custody.pins import PinVault
from cardd.errors import CarddError, InvalidFieldsError, NotFoundError
from cardd.igc.profiles import PRIVATE_CARD_SERIAL, PRIVATE_CARD_TYPE, PRIVATE_KEY_MEDIUM, PRIVATE_PROFESSION
from cardd.orders.errors import HabilitationNotApprovedError
from cardd.orders.identifiers import rpps
from cardd.store import tables
from cardd.vocabulary import Profession
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import HostLostError
from cardd_pkcs11.types import Secret
from tests.support.cards import FORM, CardRoom, MemoryTokens, card_room
from tests.support.igc import TestPki

RIGHT = SessionRequest(pin="1234")


def _private(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes:
    value = certificate.extensions.get_extension_for_oid(oid).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return value.value


async def test_a_cps_names_the_recipient_as_a_medecin_with_a_test_rpps(room: CardRoom) -> None:
    card = await room.card()
    assert card.holder is not None
    assert card.issued_at is not None
    assert (card.holder.last_name, card.holder.first_name) == ("DUPONT", "Zoé")
    assert (card.holder.profession, card.holder.title) == (Profession.MEDECIN, "Médecin")
    assert card.holder.identifier.startswith("899700")
    assert rpps(card.holder.identifier[1:]) == card.holder.identifier[1:]
    assert card.opposes_at == card.issued_at.replace(year=card.issued_at.year + 3)
    assert (card.present, card.reader) == (True, f"cardd SoftHSM {card.serial}")


async def test_a_card_s_certificates_bear_the_private_extensions_of_a_card(room: CardRoom) -> None:
    card = await room.card(profession=Profession.INFIRMIER)
    assert [each.role for each in card.certificates] == [CardRole.AUTHENTICATION, CardRole.SIGNATURE]
    for each in card.certificates:
        certificate = x509.load_der_x509_certificate(each.certificate)
        number = certified_card_number(card.serial).encode()
        assert _private(certificate, PRIVATE_CARD_TYPE) == b"\x02\x01\x00"
        assert _private(certificate, PRIVATE_CARD_SERIAL) == b"\x13" + bytes([len(number)]) + number
        assert _private(certificate, PRIVATE_KEY_MEDIUM) == b"\x04\x01\x80"
        assert _private(certificate, PRIVATE_PROFESSION) == b"\x02\x01\x3c"
        assert "FORT" in each.issuer


async def test_a_cpe_names_a_member_of_the_structure(room: CardRoom) -> None:
    card = await room.card(type=CardType.CPE, last_name="MARTIN", first_name="Léa")
    assert card.holder is not None
    assert card.holder.identifier == f"31B0057881/CPET{card.serial}"
    assert (card.holder.profession, card.holder.title) == (None, "Personnel santé ou social")
    assert [each.label for each in card.certificates] == [
        "Certificat d'Authentification CPE",
        "Certificat de Signature CPE",
    ]
    certificate = x509.load_der_x509_certificate(card.certificates[0].certificate)
    assert _private(certificate, PRIVATE_CARD_TYPE) == b"\x02\x01\x02"
    assert "STANDARD" in card.certificates[0].issuer


async def test_a_cpa_opens_a_session_too(room: CardRoom) -> None:
    card = await room.card(type=CardType.CPA)
    assert (await room.sessions.open(card.serial, RIGHT)).card_serial == card.serial


async def test_a_card_is_committed_with_claims_habilitation_journal_and_event(room: CardRoom) -> None:
    card = await room.card()
    async with room.store.read() as connection:
        claims = (await connection.execute(sa.select(tables.key_registry))).all()
        linked = (await connection.execute(sa.select(tables.habilitation_cards))).all()
    assert {(claim.holder_kind, claim.holder, claim.level) for claim in claims} == {
        ("card", card.serial, "software")
    }
    assert len(claims) == 2
    assert [link.card_serial for link in linked] == [card.serial]
    assert ("card.created", f"card:{card.serial}") in await room.events()
    assert "card.created" in await room.actions()


async def test_the_holder_s_pin_is_not_in_the_vault_and_the_one_that_is_opens_nothing(
    room: CardRoom, tmp_path: Path
) -> None:
    await room.card(pin="83649271")
    (token,) = room.tokens.tokens.values()
    assert token.user_pin == "83649271"
    vault = PinVault(tmp_path / "pins")
    (serial,) = vault.serials()
    kept = vault.read_pins(serial)
    assert token.so_pin == kept.security_officer.reveal()
    assert token.user_pin != kept.user.reveal()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"pin": "12"}, ["pin"]),
        ({"medium": "virtual"}, ["medium"]),
        ({"rpps": "99700000019"}, ["rpps"]),
        ({"last_name": "A\nB", "first_name": " "}, ["last_name", "first_name"]),
        ({"type": CardType.CPE, "rpps": "99700000018", "profession": 10}, ["profession", "rpps"]),
    ],
)
async def test_a_request_that_breaks_a_rule_begins_nothing(
    room: CardRoom, fields: dict[str, Any], named: list[str]
) -> None:
    with pytest.raises(InvalidFieldsError) as refused:
        await room.card(**fields)
    assert [problem.field for problem in refused.value.fields] == named
    assert not room.tokens.tokens


async def test_a_habilitation_must_exist_and_be_approved(room: CardRoom) -> None:
    with pytest.raises(NotFoundError):
        await room.cards.create(TestCardRequest(habilitation="none"))
    submitted = await room.habilitations.submit(FORM)
    with pytest.raises(HabilitationNotApprovedError):
        await room.cards.create(TestCardRequest(habilitation=submitted.id))
    assert not room.tokens.tokens


async def test_a_card_that_fails_half_way_is_never_listed_and_its_token_serves_again(room: CardRoom) -> None:
    room.pki.refuse = RuntimeError("the CA is away")
    with pytest.raises(RuntimeError):
        await room.card()
    assert await room.cards.list() == []
    (token,) = room.tokens.tokens.values()
    assert token.objects == []
    room.pki.refuse = None
    card = await room.card()
    assert len(room.tokens.tokens) == 1
    assert token.label == f"CPS {card.serial}"
    await room.sessions.open(card.serial, RIGHT)


@pytest.mark.parametrize(
    "call",
    [
        protocol.GenerateKeyPair,
        protocol.StoreCertificate,
        protocol.StoreData,
        protocol.InitPin,
        protocol.InitToken,
    ],
)
async def test_a_start_after_a_kill_empties_what_was_begun_and_uses_it_again(
    tmp_path: Path, hierarchy: TestPki, call: type[protocol.Call[Any]]
) -> None:
    tokens = MemoryTokens()
    async with card_room(tmp_path, hierarchy, tokens) as room:

        async def die_for_good(current: protocol.Call[Any]) -> None:
            if isinstance(current, call):
                room.tokens.before = _dead
                await _dead(current)

        room.tokens.before = die_for_good
        with pytest.raises((CarddError, HostLostError)):
            await room.card()
        assert await room.cards.list() == []
    tokens.before = None
    async with card_room(tmp_path, hierarchy, tokens) as room:
        begun = len(tokens.tokens)
        assert await room.cards.recover() == begun
        assert all(not token.objects for token in tokens.tokens.values())
        await room.card()
        assert len(tokens.tokens) == 1


async def _dead(_call: protocol.Call[Any]) -> None:
    raise HostLostError("killed")


async def test_recovery_leaves_finished_cards_and_strangers_alone(room: CardRoom) -> None:
    card = await room.card()
    stranger = room.tokens._InitToken(
        protocol.InitToken(label="CPS 12345678", so_pin=Secret("so"), user_pin=Secret("user"))
    )
    assert await room.cards.recover() == 0
    await room.sessions.open(card.serial, RIGHT)
    assert room.tokens.tokens[stranger.serial].user_pin == "user"


async def test_a_cancelled_creation_leaves_nothing(room: CardRoom) -> None:
    habilitation = await room.approved()
    reached = asyncio.Event()

    async def before(call: protocol.Call[Any]) -> None:
        if isinstance(call, protocol.StoreData) and not reached.is_set():
            reached.set()
            await asyncio.Event().wait()

    room.tokens.before = before
    creating = asyncio.create_task(room.cards.create(TestCardRequest(habilitation=habilitation.id)))
    await reached.wait()
    creating.cancel()
    with pytest.raises(asyncio.CancelledError):
        await creating
    made = await room.cards.create(TestCardRequest(habilitation=habilitation.id))
    assert [card.serial for card in await room.cards.list()] == [made.serial]


async def test_cards_made_at_once_have_serials_tokens_and_rpps_of_their_own(room: CardRoom) -> None:
    habilitation = await room.approved()
    made = await asyncio.gather(
        *(room.cards.create(TestCardRequest(habilitation=habilitation.id)) for _ in range(4))
    )
    assert (
        len({card.serial for card in made})
        == len({card.holder and card.holder.identifier for card in made})
        == 4
    )


async def test_a_card_is_inserted_once_and_removed_once(room: CardRoom) -> None:
    card = await room.card()
    presence = Presence(room.store)
    assert [(reader.name, reader.card) for reader in await presence.readers()] == [
        (f"cardd SoftHSM {card.serial}", card.serial)
    ]
    with pytest.raises(CardAlreadyPresentError):
        await room.cards.insert(card.serial)
    assert not (await room.cards.remove(card.serial)).present
    with pytest.raises(CardAbsentError):
        await room.cards.remove(card.serial)
    assert await presence.readers() == []
    for call in (room.cards.insert, room.cards.remove, room.cards.get, room.cards.data):
        with pytest.raises(CardUnknownError):
            await call("00000000")
    kinds = [kind for kind, _ in await room.events()]
    assert [kind for kind in kinds if kind.startswith("reader.")] == ["reader.added", "reader.removed"]


async def test_opposition_revokes_the_certificates_and_is_definitive(room: CardRoom) -> None:
    card = await room.card()
    opposed = await room.cards.oppose(card.serial, "lost in the tram")
    assert (opposed.opposed, opposed.opposed_reason) == (True, "lost in the tram")
    async with room.store.read() as connection:
        rows = (await connection.execute(sa.select(tables.certificates))).all()
    assert {(row.revocation_reason, row.crl_entry is not None) for row in rows} == {
        ("cessation_of_operation", True)
    }
    assert room.pki.lists.published == 1
    with pytest.raises(CardAlreadyOpposedError):
        await room.cards.oppose(card.serial, "again")
    for each in card.certificates:
        assert ("certificate.revoked", f"certificate:{each.serial}") in await room.events()


async def test_a_card_is_opposed_by_itself_three_years_after_issue(room: CardRoom) -> None:
    card = await room.card()
    assert card.opposes_at is not None
    room.clock.advance(card.opposes_at - room.clock.now() - timedelta(seconds=1))
    assert await room.cards.oppose_due() == []
    room.clock.advance(timedelta(seconds=1))
    assert await room.cards.oppose_due() == [card.serial]
    assert await room.cards.oppose_due() == []
    assert (await room.cards.get(card.serial)).opposed
    assert room.pki.lists.published == 1


async def test_private_data_objects_are_read_while_a_session_is_open_only(room: CardRoom) -> None:
    card = await room.card()
    public = await room.cards.data(card.serial)
    assert (public.complete, public.activities, public.billing) == (False, (), None)
    assert (public.last_name, public.languages, public.profession) == ("DUPONT", ("fr",), 10)
    assert (public.identity.serial, public.identity.type) == (card.serial, "cps")
    await room.sessions.open(card.serial, RIGHT)
    complete = await room.cards.data(card.serial)
    assert complete.complete
    assert [activity.number for activity in complete.activities] == [1, 3]
    assert complete.activities[0].structure == "11B0057881"
    await room.cards.remove(card.serial)
    with pytest.raises(CardAbsentError):
        await room.cards.data(card.serial)
