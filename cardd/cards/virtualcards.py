"""Test cards that are virtual CPS3 cards: made, put in virtual readers, taken out.

Their keys are made here in software and lie in the state's folder of virtual cards, for the card plays the chip
that keeps them. A folder that no card's row names was left by an interrupted making, and is removed at the next
start. What is in the readers is remembered, so that it is there again after a restart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
import sqlalchemy as sa
import structlog
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from msgspec import Meta

from cardd.cards.dataobjects import CardFacts
from cardd.cards.identity import ISSUER_IDENTIFICATION, CertificateSlot, serial_file, slots
from cardd.cards.personalisation import CardKeyPair, issue_request
from cardd.cards.types import CardRole, CardSerial
from cardd.custody.keychecks import check_public_key
from cardd.custody.keys import MadeKey
from cardd.errors import CarddError, ConflictError
from cardd.events import Event, EventBus, EventType
from cardd.igc.issuing import IssuedCertificate
from cardd.igc.pki import Pki
from cardd.store import Store, tables
from cardd.text import Text
from cardd.virtualcard import CardContent, KeyRole, VirtualReaders
from cardd.virtualcard import CardSerial as VirtualSerial
from cardd.virtualcard import CardType as VirtualType
from cardd.virtualcard.faults import Fault
from cardd.virtualcard.pkcs15 import object_id
from cardd.virtualcard.stored import StoredActivity, StoredCard, StoredCredential, StoredHolder
from cardd.virtualcard.wire import Aid
from cardd_pkcs11.types import (
    CustodyLevel,
    KeyAlgorithm,
    KeyAttributes,
    KeyId,
    Secret,
    Spki,
    TokenSerial,
)

KEY_BITS: Final = 2048
#: Digits with which a blocked PIN is unblocked, on every virtual card.
DEFAULT_PUK: Final = "12345678"
#: The card and its reader are told within that time, or the insertion has failed.
SEEN_WITHIN_SECONDS: Final = 10.0
#: What is in the virtual readers, as remembered across restarts.
_FACT: Final = "virtual_cards_inserted"
#: Characters of TokenInfo's serial that PKCS#11 shows.
_TOKEN_SERIAL_LENGTH: Final = 16
_PUBLIC_EXPONENT: Final = 65537

_log = structlog.get_logger(__name__)

_ROLES: Final = {
    CardRole.AUTHENTICATION: KeyRole.AUTHENTICATION,
    CardRole.SIGNATURE: KeyRole.SIGNATURE,
}


class VirtualCardNotSeenError(ConflictError):
    """A virtual card was put into its reader, and the reader did not say so in time."""

    code = "virtual_card_not_seen"
    title = Text("The reader does not see the card", "Le lecteur ne voit pas la carte")
    default_advice = Text(
        "`cardd diagnose` tells how pcscd and its readers are; then insert the card again.",
        "`cardd diagnose` montre l’état de pcscd et de ses lecteurs ; puis réinsérez la carte.",
    )


class FaultsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The faults of a virtual card, in force from its next insertion until the daemon ends."""

    faults: Annotated[tuple[Fault, ...], Meta(max_length=32)]


@dataclass(frozen=True)
class MadeVirtualCard:
    """A virtual card that lies in its folder, and what the store is to know of it."""

    token_serial: TokenSerial
    pairs: tuple[CardKeyPair, ...]


class VirtualCards:
    """The virtual test cards of one daemon, and the readers for them where they run."""

    def __init__(
        self,
        store: Store,
        pki: Pki,
        readers: VirtualReaders,
        *,
        bus: EventBus,
        unavailable: Text | None = None,
    ) -> None:
        """`unavailable` says why no virtual reader runs, None where they do."""
        self._store = store
        self._pki = pki
        self._readers = readers
        self._bus = bus
        self.unavailable = unavailable

    async def recover(self, known: Collection[str]) -> None:
        """Remove the folders of cards that did not come about; `known` are the serials of those that did."""
        for serial in await asyncio.to_thread(self._readers.serials):
            if serial not in known:
                await self.discard(CardSerial(serial))

    async def make(self, facts: CardFacts, pin: Secret) -> MadeVirtualCard:
        """Make keys, certificates and data objects, and write them down.

        Raises:
            CarddError: a key or a certificate is refused, or the folder cannot be written; `discard` cleans up.
        """
        token_serial = token_serial_of(facts.serial)
        made = [await self._credential(slot, facts, token_serial) for slot in slots(facts.type)]
        card = _stored(facts, tuple(credential for credential, _ in made), pin)
        folder = self._readers.folder(VirtualSerial(facts.serial))
        await asyncio.to_thread(folder.write, card)
        return MadeVirtualCard(token_serial, tuple(pair for _, pair in made))

    async def discard(self, serial: CardSerial) -> None:
        """Destroy what lies in a card's folder; a failure is logged, and the next start tries again."""
        try:
            await asyncio.to_thread(self._readers.folder(VirtualSerial(serial)).remove)
        except CarddError as error:
            _log.warning("virtual_cards.not_discarded", card=serial, why=error.detail.en)

    async def content(self, serial: CardSerial) -> CardContent:
        """Return a card as it was made.

        Raises:
            CardFileError
        """
        return await asyncio.to_thread(self._readers.folder(VirtualSerial(serial)).load)

    async def insert(self, serial: CardSerial) -> None:
        """Put a card into a free virtual reader, and return when the daemon has seen it there.

        Raises:
            NoFreeReaderError, CardFileError, CardStateError, VirtualReaderUnavailableError
            VirtualCardNotSeenError: the reader did not notice it.
        """
        virtual = VirtualSerial(serial)
        try:
            await self._seen(EventType.CARD_INSERTED, serial, lambda: self._readers.insert(virtual))
        except VirtualCardNotSeenError:
            await self._readers.remove(virtual)
            raise
        await self._remember()

    async def remove(self, serial: CardSerial) -> None:
        """Take a card out of its reader, and return when the daemon has seen it go.

        Raises:
            VirtualCardNotSeenError: the reader did not notice it.
        """
        if self._readers.reader_of(VirtualSerial(serial)) is not None:
            await self._seen(
                EventType.CARD_REMOVED, serial, lambda: self._readers.remove(VirtualSerial(serial))
            )
        await self._remember()

    async def reinsert(self) -> None:
        """At start: put back what was in the readers; the watch tells of it when it sees it."""
        table, fact = tables.instance, self._store.own_name(_FACT)
        async with self._store.read() as connection:
            wanted = sa.select(table.c.value).where(table.c.name == fact)
            serials = (await connection.execute(wanted)).scalar() or []
        for serial in serials:
            try:
                await self._readers.insert(VirtualSerial(serial))
            except CarddError as error:
                _log.warning("virtual_cards.not_reinserted", card=serial, why=error.detail.en)

    def reader_of(self, serial: CardSerial) -> str | None:
        """Return the virtual reader that a card is in, seen there or not."""
        return self._readers.reader_of(VirtualSerial(serial))

    def set_faults(self, serial: CardSerial, faults: Collection[Fault]) -> None:
        """Replace a card's faults, from its next insertion until the daemon ends."""
        self._readers.set_faults(VirtualSerial(serial), faults)

    async def _credential(
        self, slot: CertificateSlot, facts: CardFacts, token_serial: TokenSerial
    ) -> tuple[StoredCredential, CardKeyPair]:
        private_key = await asyncio.to_thread(rsa.generate_private_key, _PUBLIC_EXPONENT, KEY_BITS)
        spki = Spki(private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        await asyncio.to_thread(check_public_key, spki)
        role = _ROLES[slot.role]
        key = _made_key(KeyId(object_id(Aid.CONTACT, role)), token_serial, spki)
        issued: IssuedCertificate = await self._pki.issue(issue_request(slot, key, facts))
        pem = private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        stored = StoredCredential(role=role, certificate=issued.der, private_key=pem)
        return stored, CardKeyPair(slot, key, issued, ())

    async def _seen(
        self, event: EventType, serial: CardSerial, move: Callable[[], Awaitable[object]]
    ) -> None:
        """Move a card and wait until the daemon has published that."""
        with self._bus.subscribe() as events:
            await move()
            try:
                async with asyncio.timeout(SEEN_WITHIN_SECONDS):
                    while not _tells(await events.next(), event, serial):
                        pass
            except TimeoutError:
                raise VirtualCardNotSeenError(
                    Text(
                        f"No reader has told of the card {serial} in {SEEN_WITHIN_SECONDS:.0f} s.",
                        f"Aucun lecteur n’a annoncé la carte {serial} en {SEEN_WITHIN_SECONDS:.0f} s.",
                    )
                ) from None

    async def _remember(self) -> None:
        """Keep which cards are in the readers; the order does not matter."""
        table, fact = tables.instance, self._store.own_name(_FACT)
        inserted = [
            serial for serial in self._readers.serials() if self._readers.reader_of(serial) is not None
        ]
        async with self._store.transaction() as tx:
            await tx.execute(sa.delete(table).where(table.c.name == fact))
            await tx.execute(sa.insert(table).values(name=fact, value=inserted))


def token_serial_of(serial: CardSerial) -> TokenSerial:
    """Return the serial of a card's token as OpenSC shows it: the last 16 hexadecimal digits of EF.SN."""
    return TokenSerial(serial_file(serial).hex()[-_TOKEN_SERIAL_LENGTH:])


def _tells(event: Event, wanted: EventType, serial: CardSerial) -> bool:
    return event.type is wanted and event.subject == f"card:{serial}"


def _made_key(key_id: KeyId, token_serial: TokenSerial, spki: Spki) -> MadeKey:
    """Describe a key of a virtual card; through PKCS#11 nothing is known of it before login."""
    unknown = dict.fromkeys(KeyAttributes.__struct_fields__)
    return MadeKey(
        key_id=key_id,
        token_serial=token_serial,
        spki=spki,
        algorithm=KeyAlgorithm.RSA_2048,
        level=CustodyLevel.SOFTWARE,
        attributes=KeyAttributes(**unknown),
    )


def _stored(facts: CardFacts, credentials: tuple[StoredCredential, ...], pin: Secret) -> StoredCard:
    authentication, signature = slots(facts.type)
    holder, structure = facts.holder, facts.structure
    activities = (1, 3) if facts.holder.profession is not None else (1,)
    return StoredCard(
        serial=facts.serial,
        type=VirtualType[facts.type.name],
        issuer=ISSUER_IDENTIFICATION,
        authentication_label=authentication.certificate_label,
        signature_label=signature.certificate_label,
        holder=StoredHolder(
            family_name=holder.last_name,
            given_name=holder.first_name,
            identifier=holder.identifier,
            profession=holder.profession,
            activities=tuple(
                StoredActivity(
                    number=number,
                    structure_id=structure.id,
                    structure_name=structure.name,
                    role=structure.state,
                )
                for number in activities
            ),
            billing="test",
        ),
        credentials=credentials,
        first_pin=pin.reveal(),
        first_puk=DEFAULT_PUK,
    )
