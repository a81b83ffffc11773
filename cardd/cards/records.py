"""Cards as the store keeps them, and as they are shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.cards.errors import CardUnknownError
from cardd.cards.identity import slots
from cardd.cards.pin import pin_view
from cardd.cards.pintries import absent, opposed
from cardd.cards.types import (
    Capability,
    CardCertificate,
    CardRole,
    CardSerial,
    CardType,
    CardView,
    Holder,
)
from cardd.igc.names import readable_name
from cardd.store import Store
from cardd.store.tables import cards, certificates, habilitation_cards
from cardd_pkcs11.types import KeyId, Spki, TokenSerial

#: The family's generation whose objects test cards bear.
GENERATION = "CPS3"


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
        public_key = x509.load_der_x509_certificate(self.der).public_key()
        return Spki(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


@dataclass(frozen=True)
class CardRecord:
    """One card's row, its keys and its habilitations."""

    serial: CardSerial
    medium: str
    type: CardType
    token_serial: TokenSerial
    holder: Holder
    issued_at: datetime
    opposes_at: datetime
    opposed_at: datetime | None
    opposed_reason: str | None
    inserted: bool
    pin_tries_left: int
    capabilities: tuple[Capability, ...]
    keys: tuple[CardKey, ...]
    habilitations: tuple[str, ...]

    @property
    def reader(self) -> str | None:
        """The name of the reader that the card is in."""
        return reader_name(self.serial) if self.inserted else None

    def key(self, role: CardRole) -> CardKey | None:
        """Return the key pair for a role, None where the card has none."""
        return next((key for key in self.keys if key.role is role), None)

    def check_usable(self) -> None:
        """Refuse a card that is opposed or in no reader.

        Raises:
            CardOpposedError, CardAbsentError
        """
        if self.opposed_at is not None:
            raise opposed(self.serial)
        if not self.inserted:
            raise absent(self.serial)

    def view(self, *, module: str, tries: int) -> CardView:
        """Return what is shown of the card; `tries` wrong PINs block it."""
        return CardView(
            serial=self.serial,
            type=self.type,
            generation=GENERATION,
            medium=self.medium,
            reader=self.reader,
            module=module,
            present=self.inserted,
            holder=self.holder,
            certificates=tuple(map(_certificate_view, self.keys)),
            pin=pin_view(self.pin_tries_left, tries),
            capabilities=self.capabilities,
            habilitations=self.habilitations,
            issued_at=self.issued_at,
            opposed=self.opposed_at is not None,
            opposed_at=self.opposed_at,
            opposed_reason=self.opposed_reason,
            opposes_at=self.opposes_at,
        )


def reader_name(serial: CardSerial) -> str:
    """Return the name of the reader that an inserted test card appears in."""
    return f"cardd SoftHSM {serial}"


async def load_card(store: Store, serial: str) -> CardRecord:
    """Return one card.

    Raises:
        CardUnknownError: there is none.
    """
    async with store.read() as connection:
        found = await _load(connection, cards.c.serial == serial)
    if not found:
        raise CardUnknownError.named(serial)
    return found[0]


async def load_cards(store: Store) -> tuple[CardRecord, ...]:
    """Return every card, oldest first."""
    async with store.read() as connection:
        return await _load(connection, sa.true())


async def _load(connection: AsyncConnection, where: sa.ColumnElement[bool]) -> tuple[CardRecord, ...]:
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
            [certificate for certificate in signed if certificate.card_serial == row.serial],
            [link.habilitation_id for link in linked if link.card_serial == row.serial],
        )
        for row in rows
    )


def _record(row: sa.Row[Any], signed: Sequence[sa.Row[Any]], habilitations: Sequence[str]) -> CardRecord:
    card_type = CardType(row.type)
    by_role = {certificate.card_role: certificate for certificate in signed}
    return CardRecord(
        serial=CardSerial(row.serial),
        medium=row.medium,
        type=card_type,
        token_serial=TokenSerial(row.token_serial),
        holder=msgspec.convert(row.holder, Holder),
        issued_at=row.issued_at,
        opposes_at=row.opposes_at,
        opposed_at=row.opposed_at,
        opposed_reason=row.opposed_reason,
        inserted=row.inserted,
        pin_tries_left=row.pin_tries_left,
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
