"""Cards as the store keeps them and as readers hold them, together, and as they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.cards.access import CardAccess
from cardd.cards.errors import CardUnknownError, CardUnreadableError
from cardd.cards.identity import slots
from cardd.cards.inserted import InsertedCard, InsertedCards
from cardd.cards.pin import pin_view
from cardd.cards.pintries import absent, opposed
from cardd.cards.recognition import CardCredential, issuer_of
from cardd.cards.signing import offered
from cardd.cards.types import (
    Capability,
    CardCertificate,
    CardEnvironment,
    CardRole,
    CardSerial,
    CardType,
    CardView,
    Holder,
    PinView,
)
from cardd.igc.names import readable_name
from cardd.store import Store
from cardd.store.tables import cards, certificates, habilitation_cards
from cardd.text import Text
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import KeyId, Spki, TokenSerial

#: The family's generation whose objects test cards bear.
GENERATION = "CPS3"
#: Media: a software token, a card of ours in a virtual reader, a card that was not made here.
SOFTHSM = "softhsm"
FOREIGN = "pcsc"


@dataclass(frozen=True)
class CardKey:
    """One key pair of a card, with its certificate."""

    role: CardRole
    key_id: KeyId
    label: str
    serial: str
    subject: str
    issuer: str
    not_before: datetime
    not_after: datetime
    der: bytes

    @property
    def spki(self) -> Spki:
        """The public key in DER."""
        return _spki_of(self.der)


@lru_cache(maxsize=256)  # each signature asks for it
def _spki_of(der: bytes) -> Spki:
    public_key = x509.load_der_x509_certificate(der).public_key()
    return Spki(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@dataclass(frozen=True)
class CardRecord:
    """One card: its row where it was made here, what is in the reader where it is in one."""

    serial: CardSerial
    medium: str
    type: CardType | None = None
    token_serial: TokenSerial | None = None
    holder: Holder | None = None
    issued_at: datetime | None = None
    opposes_at: datetime | None = None
    opposed_at: datetime | None = None
    opposed_reason: str | None = None
    inserted: bool = False
    #: Made on another machine of those that share the database, and there still.
    elsewhere: bool = False
    pin_tries_left: int | None = None
    puk_tries_left: int | None = None
    capabilities: tuple[Capability, ...] = ()
    keys: tuple[CardKey, ...] = ()
    habilitations: tuple[str, ...] = ()
    generation: str = GENERATION
    environment: CardEnvironment = CardEnvironment.TEST
    reader: str | None = None
    access: CardAccess | None = None
    pin: PinView | None = None
    problem: Text | None = None

    def key(self, role: CardRole) -> CardKey | None:
        """Return the key pair for a role, None where the card has none."""
        return next((key for key in self.keys if key.role is role), None)

    def check_usable(self) -> None:
        """Refuse a card that is opposed, in no reader, or that no module drives.

        Raises:
            CardOpposedError, CardAbsentError, CardUnreadableError
        """
        if self.opposed_at is not None:
            raise opposed(self.serial)
        self.reached()

    def reached(self) -> CardAccess:
        """Return the way to the card.

        Raises:
            CardAbsentError, CardUnreadableError
        """
        if not self.inserted:
            raise absent(self.serial)
        if self.access is None:
            raise CardUnreadableError.because(self.serial, self.problem)
        return self.access

    def view(self, *, module: str, tries: int) -> CardView:
        """Return what is shown of the card; `module` drives it where no other is known, `tries` wrong PINs block it."""
        counted = None if self.pin_tries_left is None else pin_view(self.pin_tries_left, tries)
        return CardView(
            serial=self.serial,
            type=self.type,
            generation=self.generation,
            medium=self.medium,
            reader=self.reader,
            module=module if self.access is None else self.access.module,
            present=self.inserted,
            holder=self.holder,
            certificates=tuple(map(_certificate_view, self.keys)),
            pin=self.pin or counted,
            capabilities=offered(self.capabilities),
            habilitations=self.habilitations,
            issued_at=self.issued_at,
            opposed=self.opposed_at is not None,
            opposed_at=self.opposed_at,
            opposed_reason=self.opposed_reason,
            opposes_at=self.opposes_at,
            environment=self.environment,
            problem=self.problem,
        )


class CardDirectory:
    """Every card: those made here, and those in readers."""

    def __init__(
        self,
        store: Store,
        tokens: TokenOperations,
        *,
        module: str,
        tries: int,
        inserted: InsertedCards | None,
    ) -> None:
        """Look in `store` and in `inserted`; test cards on software tokens are reached through `tokens`."""
        self._store = store
        self._tokens = tokens
        self._module = module
        self._tries = tries
        self._inserted = inserted

    async def find(self, serial: str) -> CardRecord:
        """Return one card; one that was inserted just now is read first.

        Raises:
            CardUnknownError: it was not made here and is in no reader.
        """
        if self._inserted is not None:
            await self._inserted.read(serial)
        stay = None if self._inserted is None else self._inserted.find(serial)
        try:
            return self._placed(await load_card(self._store, serial), stay)
        except CardUnknownError:
            if stay is None:
                raise
            return _foreign(stay)

    async def all(self) -> tuple[CardRecord, ...]:
        """Return every card: those made here, oldest first, then the others in readers, by reader."""
        if self._inserted is not None:
            await self._inserted.read()
        made = await load_cards(self._store)
        stays = {} if self._inserted is None else {stay.serial: stay for stay in self._inserted.cards()}
        known = {card.serial for card in made}
        foreign = sorted(
            (stay for serial, stay in stays.items() if serial not in known), key=lambda stay: stay.reader
        )
        return (
            *(self._placed(card, stays.get(card.serial)) for card in made),
            *(_foreign(stay) for stay in foreign),
        )

    def _placed(self, card: CardRecord, stay: InsertedCard | None) -> CardRecord:
        if card.medium == SOFTHSM:
            if not card.inserted or card.token_serial is None:
                return card
            access = CardAccess(self._tokens, card.token_serial, self._module, self._tries)
            return replace(card, reader=reader_name(card.serial), access=access)
        if stay is None:
            return replace(card, inserted=False)
        return replace(
            card,
            inserted=True,
            token_serial=stay.token or card.token_serial,
            reader=stay.reader,
            access=stay.access,
            keys=_keys_of(stay) or card.keys,
            environment=stay.findings.environment if stay.findings.credentials else card.environment,
            pin=stay.pin,
            capabilities=stay.capabilities or card.capabilities,
            problem=stay.problem,
        )


def _foreign(stay: InsertedCard) -> CardRecord:
    """Describe a card that was not made here, by what it says itself."""
    keys = _keys_of(stay)
    return CardRecord(
        serial=stay.serial,
        medium=FOREIGN,
        type=stay.findings.type,
        token_serial=stay.token,
        holder=stay.findings.holder,
        opposes_at=min((key.not_after for key in keys), default=None),
        inserted=True,
        keys=keys,
        capabilities=stay.capabilities,
        generation=_GENERATIONS.get(stay.generation.value, stay.generation.value),
        environment=stay.findings.environment,
        reader=stay.reader,
        access=stay.access,
        pin=stay.pin,
        problem=stay.problem,
    )


def _keys_of(stay: InsertedCard) -> tuple[CardKey, ...]:
    return tuple(map(_key_on_card, stay.findings.credentials))


def _key_on_card(found: CardCredential) -> CardKey:
    certificate = found.certificate
    return CardKey(
        role=found.role,
        key_id=found.key_id,
        label=found.label,
        serial=found.serial,
        subject=readable_name(certificate.subject),
        issuer=issuer_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        der=found.der,
    )


#: How generations are called in the API.
_GENERATIONS = {"cps2ter": "CPS2ter", "cps3": "CPS3", "cps3_contactless": "CPS3", "cps4": "CPS4"}


def reader_name(serial: CardSerial) -> str:
    """Return the name of the reader that an inserted test card appears in."""
    return f"cardd SoftHSM {serial}"


async def load_card(store: Store, serial: str) -> CardRecord:
    """Return one card.

    Raises:
        CardUnknownError: there is none.
    """
    async with store.read() as connection:
        found = await _load(connection, store.machine, cards.c.serial == serial)
    if not found:
        raise CardUnknownError.named(serial)
    return found[0]


async def load_cards(store: Store) -> tuple[CardRecord, ...]:
    """Return every card, oldest first."""
    async with store.read() as connection:
        return await _load(connection, store.machine, sa.true())


async def _load(
    connection: AsyncConnection, machine: str, where: sa.ColumnElement[bool]
) -> tuple[CardRecord, ...]:
    """Load cards; one that is in a reader of another machine is in none here."""
    rows = (
        await connection.execute(sa.select(cards).where(where).order_by(cards.c.issued_at, cards.c.serial))
    ).all()
    wanted = sa.select(cards.c.serial).where(where)
    owned = certificates.c.card_serial.in_(wanted) & (certificates.c.kind == "card")
    signed = (await connection.execute(sa.select(certificates).where(owned))).all()
    linked = (
        await connection.execute(
            sa.select(habilitation_cards)
            .where(habilitation_cards.c.card_serial.in_(wanted))
            .order_by(habilitation_cards.c.added_at)
        )
    ).all()
    return tuple(
        _record(
            row,
            machine,
            [certificate for certificate in signed if certificate.card_serial == row.serial],
            [link.habilitation_id for link in linked if link.card_serial == row.serial],
        )
        for row in rows
    )


def _record(
    row: sa.Row[Any],
    machine: str,
    signed: Sequence[sa.Row[Any]],
    habilitations: Sequence[str],
) -> CardRecord:
    card_type = CardType(row.type)
    by_role = {certificate.card_role: certificate for certificate in signed}
    return CardRecord(
        serial=CardSerial(row.serial),
        medium=row.medium,
        type=card_type,
        token_serial=None if row.token_serial is None else TokenSerial(row.token_serial),
        holder=msgspec.convert(row.holder, Holder),
        issued_at=row.issued_at,
        opposes_at=row.opposes_at,
        opposed_at=row.opposed_at,
        opposed_reason=row.opposed_reason,
        inserted=row.inserted and row.machine == machine,
        elsewhere=row.machine != machine,
        pin_tries_left=row.pin_tries_left,
        puk_tries_left=row.puk_tries_left,
        capabilities=msgspec.convert(row.capabilities, tuple[Capability, ...]),
        keys=tuple(
            _key(by_role[slot.role.value], slot.role, slot.certificate_label)
            for slot in slots(card_type)
            if slot.role.value in by_role
        ),
        habilitations=tuple(habilitations),
    )


def _key(row: sa.Row[Any], role: CardRole, label: str) -> CardKey:
    return CardKey(
        role=role,
        key_id=KeyId(bytes.fromhex(row.key_id)),
        label=label,
        serial=row.serial,
        subject=row.subject,
        issuer=row.issuer,
        not_before=row.not_before,
        not_after=row.not_after,
        der=row.der,
    )


def _certificate_view(key: CardKey) -> CardCertificate:
    return CardCertificate(
        role=key.role,
        label=key.label,
        serial=key.serial,
        subject=key.subject,
        issuer=readable_name(x509.load_der_x509_certificate(key.der).issuer),
        not_before=key.not_before,
        not_after=key.not_after,
        key_id=key.key_id.hex(),
        certificate=key.der,
    )
