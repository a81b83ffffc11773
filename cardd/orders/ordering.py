"""Placing an order: the form, the authorisation, the key, then one transaction."""

import asyncio
import base64
import binascii
import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from cardd.custody.csr import ProvenKey, read_csr
from cardd.custody.errors import CsrMalformedError
from cardd.custody.keys import MadeKey
from cardd.custody.possession import new_challenge
from cardd.custody.registry import HolderKind, claim, spki_hash
from cardd.custody.stock import READY_LABEL, KeyKind
from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.events import EventType
from cardd.igc.profiles import PROFILES
from cardd.orders.errors import NotAuthorisedError
from cardd.orders.filters import search_text
from cardd.orders.forms import CheckedOrder, check_order
from cardd.orders.habilitations import scope_of
from cardd.orders.offers import algorithms_of, profile_name
from cardd.orders.parts import AuthorisingCard, OrderParts
from cardd.orders.subjects import common_name_of
from cardd.orders.types import CertificateSerial, OrderId, OrderRequest, OrderState
from cardd.store import Transaction
from cardd.store.tables import orders, structures, tokens
from cardd.text import Text
from cardd_pkcs11.types import KeyAlgorithm, KeyId, TokenSerial

#: Custody of a key that its holder brought a CSR of: nothing is known of it.
EXTERNAL = "external"


@dataclass(frozen=True, kw_only=True)
class OrderKey:
    """The key of an order, made on a token or proven by a CSR."""

    source: Literal["token", "csr"]
    spki: bytes
    algorithm: str
    level: str
    token_serial: TokenSerial | None = None
    key_id: KeyId | None = None
    label: str | None = None
    """Of a key that was made before its holder was known; otherwise it is called like the order."""

    @classmethod
    def on_token(cls, made: MadeKey, label: str | None = None) -> "OrderKey":
        """Return the key of an order that was made on a token."""
        return cls(
            source="token",
            spki=made.spki,
            algorithm=made.algorithm.value,
            level=made.level.value,
            token_serial=made.token_serial,
            key_id=made.key_id,
            label=label,
        )


@dataclass(frozen=True, kw_only=True)
class Placement:
    """An order that is being placed."""

    id: OrderId
    form: CheckedOrder
    card_serial: str
    renewal_of: CertificateSerial | None

    @property
    def label(self) -> str:
        """What the certificate will be called: its CN."""
        return common_name_of(self.form.structure, self.form.fields)


class Ordering:
    """Places orders."""

    def __init__(self, parts: OrderParts) -> None:
        self._parts = parts

    async def place(
        self, request: OrderRequest, card: AuthorisingCard, *, renewal_of: CertificateSerial | None = None
    ) -> OrderId:
        """Place an order and return its identifier.

        Raises `InvalidFieldsError` (every wrong field), `NotAuthorisedError`, the errors of a CSR and of
        weak keys, `KeyAlreadyHeldError`, and the errors of the token.
        """
        placement = Placement(
            id=OrderId(secrets.token_hex(8)),
            form=check_order(request),
            card_serial=card.card_serial,
            renewal_of=renewal_of,
        )
        async with self._parts.store.read() as connection:
            await self._authorise(connection, placement)
        if placement.form.key.source == "csr":
            await self._place_with_csr(placement)
        else:
            await self._place_on_token(placement)
        return placement.id

    async def _place_with_csr(self, placement: Placement) -> None:
        proven = await asyncio.to_thread(read_csr, decode_csr(placement.form.key.csr or ""))
        _check_algorithm(proven, placement.form)
        key = OrderKey(source="csr", spki=proven.spki, algorithm=proven.algorithm.value, level=EXTERNAL)
        async with self._parts.store.transaction() as tx:
            await self._commit(tx, placement, key)

    async def _place_on_token(self, placement: Placement) -> None:
        form = placement.form
        token_serial = await self._token_for(form)
        use = PROFILES[profile_name(form.offer, form.usage)].key_use
        kind = KeyKind(token_serial, KeyAlgorithm(form.algorithm), use)
        if await self._place_with_ready_key(placement, kind):
            return
        async with self._parts.intents.making(token_serial) as intent:
            made = await self._parts.maker.make(
                token_serial, intent.key_id, placement.label, kind.algorithm, use
            )
            async with self._parts.store.transaction() as tx:
                await intent.fulfil(tx)
                await self._commit(tx, placement, OrderKey.on_token(made))

    async def _place_with_ready_key(self, placement: Placement, kind: KeyKind) -> bool:
        """Place the order with a key that is ready; False where there is none."""
        if self._parts.settings.tokens.ready_keys == 0:
            return False
        while (made := await self._parts.stock.offer(kind)) is not None:
            async with self._parts.store.transaction() as tx:
                if await self._parts.stock.take(tx, made):
                    await self._commit(tx, placement, OrderKey.on_token(made, READY_LABEL))
                    return True
        return False

    async def _token_for(self, form: CheckedOrder) -> TokenSerial:
        """Return the structure's token, made at its first order, or the one that the form names."""
        named = form.key.token
        if named is None:
            return (await self._parts.keeper.for_structure(form.structure_id)).serial
        statement = sa.select(tokens.c.serial).where(
            tokens.c.structure_id == form.structure_id,
            tokens.c.machine == self._parts.store.machine,
            sa.or_(tokens.c.label == named, tokens.c.serial == named),
        )
        async with self._parts.store.read() as connection:
            serial = (await connection.execute(statement)).scalar()
        if serial is None:
            raise InvalidFieldsError([FieldProblem("key.token", _UNKNOWN_TOKEN)])
        return TokenSerial(serial)

    async def _authorise(self, connection: AsyncConnection, placement: Placement) -> str:
        """Return the habilitation that covers the order, as it stands in this state of the store."""
        form = placement.form
        scope = await scope_of(connection, placement.card_serial)
        habilitation = scope.habilitation_for(form.structure_id, form.offer, form.usage)
        if habilitation is None:
            raise not_authorised(form.structure_id, form.offer, form.usage)
        return habilitation

    async def _commit(self, tx: Transaction, placement: Placement, key: OrderKey) -> None:
        form = placement.form
        habilitation = await self._authorise(tx.connection, placement)
        await claim(
            tx,
            spki=key.spki,
            holder_kind=HolderKind.ORDER,
            holder=placement.id,
            token_serial=key.token_serial,
            key_id=key.key_id,
            level=key.level,
        )
        await self._insert(tx, placement, key, habilitation)
        subject, public_key = f"order:{placement.id}", spki_hash(key.spki)
        facts = {"offer": form.offer.value, "usage": form.usage.value, "structure": form.structure_id}
        renewal = {"renewal_of": placement.renewal_of} if placement.renewal_of else {}
        tx.journal(
            "order.created", subject, **facts, **renewal, public_key_sha256=public_key, custody=key.level
        )
        tx.publish(EventType.ORDER_CREATED, subject, **facts, **renewal)
        if key.source == "token":
            tx.journal("key.created", f"key:{public_key}", order=placement.id, token=key.token_serial)
            tx.publish(EventType.KEY_CREATED, f"key:{public_key}", order=placement.id, custody=key.level)
        await tx.answer("order", placement.id)

    async def _insert(self, tx: Transaction, placement: Placement, key: OrderKey, habilitation: str) -> None:
        form = placement.form
        days = self._parts.settings.orders.retrieval_days
        challenge = new_challenge(tx.now) if key.source == "csr" else None
        structure_name = (await tx.execute(_STRUCTURE_NAME, {"structure": form.structure_id})).scalar_one()
        values = {
            "id": placement.id,
            "state": OrderState.TO_RETRIEVE.value,
            "offer": form.offer.value,
            "usage": form.usage.value,
            "structure_id": form.structure_id,
            "habilitation_id": habilitation,
            "card_serial": placement.card_serial,
            "fields": msgspec.to_builtins(form.fields),
            "contacts": list(form.contacts),
            "label": placement.label,
            "search": _search(placement, structure_name),
            "key_source": key.source,
            "algorithm": key.algorithm,
            "token_serial": key.token_serial,
            "key_id": key.key_id.hex() if key.key_id is not None else None,
            "key_label": key.label,
            "spki": key.spki,
            "spki_sha256": spki_hash(key.spki),
            "level": key.level,
            "created_at": tx.now,
            "expires_at": tx.now + timedelta(days=days),
            "proven_at": tx.now if key.source == "token" else None,
            "possession_nonce": challenge.nonce if challenge is not None else None,
            "possession_expires_at": challenge.expires_at if challenge is not None else None,
            "renewal_of": placement.renewal_of,
        }
        await tx.execute(_INSERT, values)


_STRUCTURE_NAME = sa.select(structures.c.name).where(structures.c.id == sa.bindparam("structure"))
_INSERT = sa.insert(orders)


def not_authorised(structure_id: str, offer: str, usage: str) -> NotAuthorisedError:
    """Return the error for what a card's habilitations do not cover."""
    return NotAuthorisedError(
        Text(
            f"No approved habilitation of this card covers {offer} {usage} for the structure {structure_id}.",
            f"Aucune habilitation approuvée de cette carte ne couvre {offer} {usage} pour la structure {structure_id}.",
        ),
        structure=structure_id,
        offer=offer,
        usage=usage,
    )


def decode_csr(csr: str) -> bytes:
    """Return the bytes of a CSR given as PEM or as base64 of its DER; raises `CsrMalformedError`."""
    if "-----BEGIN" in csr:
        return csr.encode("utf-8", "replace")
    try:
        return base64.b64decode("".join(csr.split()), validate=True)
    except (binascii.Error, ValueError):
        raise CsrMalformedError(
            Text("It is neither PEM nor base64 of DER.", "Ce n’est ni du PEM, ni du DER en base64.")
        ) from None


def _check_algorithm(proven: ProvenKey, form: CheckedOrder) -> None:
    allowed = algorithms_of(form.offer, form.usage)
    if proven.algorithm.value not in allowed:
        known = ", ".join(allowed)
        problem = Text(
            f"holds a key of {proven.algorithm.value}; this profile allows {known}",
            f"contient une clé {proven.algorithm.value} ; ce gabarit admet {known}",
        )
        raise InvalidFieldsError([FieldProblem("key.csr", problem)])
    if form.key.algorithm not in (None, proven.algorithm.value):
        problem = Text(
            f"differs from the CSR's key, which is {proven.algorithm.value}",
            f"diffère de la clé de la CSR, qui est {proven.algorithm.value}",
        )
        raise InvalidFieldsError([FieldProblem("key.algorithm", problem)])


def _search(placement: Placement, structure_name: str) -> str:
    form = placement.form
    person = form.fields.person
    names = (person.last_name, person.first_name) if person is not None else ()
    return search_text(
        [
            placement.id,
            placement.label,
            form.structure_id,
            structure_name,
            *form.fields.fqdn,
            *names,
            *form.contacts,
        ]
    )


_UNKNOWN_TOKEN = Text(
    "is neither the label nor the serial of a token of this structure",
    "n’est ni le nom ni le numéro de série d’un jeton de cette structure",
)
