"""Making a software token into a test card, and back: keys, certificates, data objects.

A token cannot be deleted through PKCS#11. One that no card came of is emptied and serves again, under the
serial that its label names. While a card is made, its token has a random PIN; the holder's is set last, by the
security officer, whose PIN alone stays valid in the vault.
"""

import asyncio
import secrets
from dataclasses import dataclass

import structlog

from cardd.cards.dataobjects import APPLICATION, CardFacts, make_objects
from cardd.cards.identity import (
    CertificateSlot,
    certified_card_number,
    serial_of_label,
    slots,
    subject_of,
    token_label,
)
from cardd.cards.types import Capability, CardRole, CardSerial
from cardd.custody.errors import token_errors_translated
from cardd.custody.keys import KeyMaker, MadeKey
from cardd.custody.pins import PinVault, TokenPins
from cardd.custody.policy import KeyUse
from cardd.custody.registry import KEY_ID_BYTES
from cardd.igc.issuing import IssuedCertificate, IssueRequest, new_serial
from cardd.igc.pki import Pki
from cardd.igc.profiles import KeyMedium
from cardd.vocabulary import Profession
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import KeyAlgorithm, KeyId, ObjectInfo, ObjectKind, Secret, TokenInfo, TokenSerial

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class BlankCard:
    """An empty token that is to become a card."""

    serial: CardSerial
    token_serial: TokenSerial
    pins: TokenPins


@dataclass(frozen=True)
class CardKeyPair:
    """One of a card's keys with its certificate and what the module lets it do."""

    slot: CertificateSlot
    key: MadeKey
    certificate: IssuedCertificate
    capabilities: tuple[Capability, ...]


class Personaliser:
    """Makes cards on the tokens of one module."""

    def __init__(self, tokens: TokenOperations, vault: PinVault, maker: KeyMaker, pki: Pki) -> None:
        self._tokens = tokens
        self._vault = vault
        self._maker = maker
        self._pki = pki

    async def leftovers(self) -> list[TokenInfo]:
        """Return the tokens that bear a test card's label."""
        with token_errors_translated():
            present = await self._tokens.list_tokens()
        return [token for token in present if serial_of_label(token.label) is not None]

    async def make_blank(self, serial: CardSerial) -> BlankCard:
        """Initialise a token for a card; its PINs are on disk before it exists."""
        label = token_label(serial)
        pins = await asyncio.to_thread(self._vault.create, label)
        with token_errors_translated():
            token = await self._tokens.init_token(label, pins.security_officer, pins.user)
        await asyncio.to_thread(self._vault.assign, label, token.serial)
        return BlankCard(serial, token.serial, pins)

    async def empty(self, token: TokenInfo) -> BlankCard | None:
        """Make a token of ours blank again; None where its PINs are not recorded."""
        serial = serial_of_label(token.label)
        pins = await asyncio.to_thread(self._recorded, token)
        if serial is None or pins is None:
            _log.warning("cards.token_without_pin", token=token.serial, label=token.label)
            return None
        blank = BlankCard(serial, token.serial, pins)
        await self.wipe(blank)
        return blank

    async def wipe(self, blank: BlankCard) -> None:
        """Destroy every object on a token of ours, whatever its PIN has become, and log out."""
        pins, serial = blank.pins, blank.token_serial
        with token_errors_translated():
            await self._tokens.forget(serial)
            await self._tokens.init_pin(serial, pins.security_officer, pins.user)
            await self._tokens.login(serial, pins.user, accept_final_try=True)
            try:
                for found in await self._tokens.list_objects(serial):
                    await self._destroy(serial, found)
            finally:
                await self._tokens.forget(serial)

    async def personalise(self, blank: BlankCard, facts: CardFacts) -> tuple[CardKeyPair, ...]:
        """Put keys, certificates and data objects on a blank card; it is logged out afterwards.

        Raises:
            CarddError: a key, a certificate or the token is refused; the card is to be wiped.
        """
        with token_errors_translated():
            await self._tokens.login(blank.token_serial, blank.pins.user, accept_final_try=True)
            try:
                made = tuple([await self._key_pair(blank, slot, facts) for slot in slots(facts.type)])
                for item in make_objects(facts):
                    await self._tokens.store_data(
                        blank.token_serial, APPLICATION, item.label, item.value, private=item.private
                    )
            finally:
                await self._tokens.forget(blank.token_serial)
        return made

    async def hand_over(self, blank: BlankCard, pin: Secret) -> None:
        """Set the holder's PIN, which is kept nowhere."""
        with token_errors_translated():
            await self._tokens.init_pin(blank.token_serial, blank.pins.security_officer, pin)

    async def _key_pair(self, blank: BlankCard, slot: CertificateSlot, facts: CardFacts) -> CardKeyPair:
        key_id = KeyId(secrets.token_bytes(KEY_ID_BYTES))
        key = await self._maker.make(
            blank.token_serial, key_id, slot.key_label, KeyAlgorithm.RSA_2048, KeyUse.SIGN
        )
        issued = await self._pki.issue(issue_request(slot, key, facts))
        await self._tokens.store_certificate(blank.token_serial, key_id, slot.certificate_label, issued.der)
        able = await ask_capabilities(self._tokens, blank.token_serial, key_id, slot.role)
        return CardKeyPair(slot, key, issued, able)

    async def _destroy(self, serial: TokenSerial, found: ObjectInfo) -> None:
        kinds = frozenset({found.kind})
        if found.kind is ObjectKind.DATA or found.key_id is None:
            await self._tokens.destroy(serial, kinds=kinds, label=found.label)
        else:
            await self._tokens.destroy(serial, kinds=kinds, key_id=found.key_id)

    def _recorded(self, token: TokenInfo) -> TokenPins | None:
        """Return a token's PINs, giving it those that were recorded for its label before it existed."""
        if token.serial not in self._vault.serials():
            if token.label not in self._vault.pending():
                return None
            self._vault.assign(token.label, token.serial)
        return self._vault.read_pins(token.serial)


async def ask_capabilities(
    tokens: TokenOperations, token_serial: TokenSerial, key_id: KeyId, role: CardRole
) -> tuple[Capability, ...]:
    """Ask what a key can do through its module; the token is logged in."""
    able = await tokens.capabilities(token_serial, key_id)
    found = (
        Capability(role=role, operation="sign", mechanisms=tuple(m.value for m in able.sign)),
        Capability(role=role, operation="decrypt", mechanisms=tuple(m.value for m in able.decrypt)),
    )
    return tuple(capability for capability in found if capability.mechanisms)


def issue_request(slot: CertificateSlot, key: MadeKey, facts: CardFacts) -> IssueRequest:
    """Return what the PKI is asked for a key of a new card."""
    profession = facts.holder.profession
    return IssueRequest(
        profile=slot.profile,
        subject=subject_of(facts.holder, facts.structure),
        public_key=key.spki,
        serial=new_serial(),
        medium=KeyMedium.CARD,
        card_serial=certified_card_number(facts.serial),
        profession=None if profession is None else Profession(profession),
    )
