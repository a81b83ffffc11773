"""The daemon's own tokens: one for the PKI, one for each structure, made when first needed and kept open.

A token is made once a label: its PINs are recorded, then it is initialised, then it gets its row. What a crash
leaves between two of these steps is found again by label, and finished when the token is asked for. Cards are
not here: their holders keep their PINs.
"""

import asyncio
from collections import defaultdict
from datetime import datetime
from enum import StrEnum, unique
from functools import partial
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from cardd.custody.errors import TokenFaultError, token_errors_translated
from cardd.custody.pins import PinVault, make_token
from cardd.errors import ConflictError, NotFoundError
from cardd.store import Store, Transaction
from cardd.store.tables import certificates, key_registry, orders, tokens
from cardd.text import Text
from cardd_pkcs11.errors import TokenNotFoundError
from cardd_pkcs11.operations import TokenPool
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import CustodyLevel, TokenSerial

#: CK_TOKEN_INFO.label, in bytes of UTF-8 (PKCS#11 v2.40 §3.2).
_LABEL_BYTES = 32

_KIND = Text("token", "jeton")
_log = structlog.get_logger(__name__)


@unique
class TokenPurpose(StrEnum):
    """Whose keys a token holds."""

    PKI = "pki"
    STRUCTURE = "structure"


class TokenRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A token that the daemon holds."""

    serial: TokenSerial
    label: str
    purpose: TokenPurpose
    structure_id: str | None
    level: CustodyLevel
    module: str
    created_at: datetime
    retired_at: datetime | None = None


class TokenOrphanedError(TokenFaultError):
    """A token bears the label to be used, but this instance did not make it, or lost its PIN."""

    code = "token_orphaned"
    status = 500
    title = Text("A token is not this instance’s", "Un jeton n’est pas celui de cette instance")
    default_advice = Text(
        "Move the token away, or restore the whole state directory from its backup, and start again.",
        "Écartez ce jeton, ou restaurez tout le répertoire d’état depuis sa sauvegarde, puis redémarrez.",
    )


class PinNotExportableError(ConflictError):
    """The PIN of this token is not for other programs."""

    code = "pin_not_exportable"
    title = Text("This token’s PIN stays sealed", "Le code de ce jeton reste scellé")
    default_advice = Text(
        "Export the PIN of a structure’s token: programs need no other.",
        "Exportez le code du jeton d’une structure : les programmes n’ont besoin d’aucun autre.",
    )


class TokenKeeper:
    """Makes the daemon's tokens and keeps them open.

    `structures` makes those of structures, where that is another module than the one for the CA keys; the token of a
    structure that was made in another module before stays, and its keys with it, but gets no new ones.
    """

    def __init__(
        self,
        store: Store,
        pool: TokenPool,
        vault: PinVault,
        *,
        structures: TokenHostPool | None = None,
        owner: str | None = None,
    ) -> None:
        """Keep the tokens of `owner`: this machine, or several that share a directory of tokens."""
        self._store = store
        self._owner = owner or store.machine
        self._pool = pool
        self._vault = vault
        self._structures = structures
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def reopen(self) -> None:
        """At start: keep every recorded token open, and report those that the module does not show.

        Raises:
            TokenFaultError: the module cannot be used.
        """
        records = await self.list()
        for serial in await asyncio.to_thread(self._vault.changing):
            await self._change_pin(serial)
        for record in records:
            self._pool.keep_open(record.serial, partial(self._vault.read, record.serial))
        if not records:
            return
        with token_errors_translated():
            present = {token.serial for token in await self._pool.list_tokens()}
        for record in records:
            if record.serial not in present:
                _log.error("custody.token_missing", serial=record.serial, label=record.label)

    async def ensure(
        self, label: str, *, purpose: TokenPurpose, structure_id: str | None = None
    ) -> TokenSerial:
        """Return the token of that label, made at the first call; it is kept open.

        Raises:
            TokenOrphanedError: such a token exists, and its PIN is not known.
            TokenFaultError: the module cannot.
        """
        if not 0 < len(label.encode()) <= _LABEL_BYTES:
            raise ValueError(f"a token's label has 1 to {_LABEL_BYTES} bytes")
        async with self._turns[label]:
            known = await self._known(label)
            if known is not None:
                return known.serial
            medium: TokenPool = self._pool
            if purpose is TokenPurpose.STRUCTURE and self._structures is not None:
                medium = self._structures
            serial = await self._adopted(label) or await make_token(medium, self._vault, label)
            await self._record(serial, label, purpose, structure_id)
            return serial

    async def for_structure(self, structure_id: str) -> TokenRecord:
        """Return the token of a structure, made at the first call."""
        label = await self._label_for(structure_id)
        await self.ensure(label, purpose=TokenPurpose.STRUCTURE, structure_id=structure_id)
        record = await self._known(label)
        if record is None:
            raise RuntimeError("a token that was just recorded is not there")
        if record.structure_id is None:
            async with self._store.transaction() as tx:
                await _give_to_structure(tx, record.serial, structure_id)
        return record

    async def list(self) -> tuple[TokenRecord, ...]:
        """Return every token that is kept here, oldest first."""
        async with self._store.read() as connection:
            statement = sa.select(tokens).where(tokens.c.machine == self._owner)
            rows = (await connection.execute(statement.order_by(tokens.c.created_at))).all()
        return tuple(map(_record, rows))

    async def get(self, name: str) -> TokenRecord:
        """Return the token of that serial or label.

        Raises:
            NotFoundError: this instance has none.
        """
        for record in await self.list():
            if name in (record.serial, record.label):
                return record
        raise NotFoundError.of(_KIND, name)

    def recorded(self) -> frozenset[TokenSerial]:
        """Return the tokens whose PINs are in the vault; file work: call it in a thread."""
        return frozenset(self._vault.serials())

    async def export_pin(self, name: str) -> TokenRecord:
        """Write a structure token's PIN into a file for other programs; its keys are worth `software` from then on.

        Raises:
            NotFoundError: this instance has no such token.
            PinNotExportableError: it is not a structure's.
            SealBrokenError: the PIN was sealed elsewhere.
        """
        record = await self._exportable(name)
        await asyncio.to_thread(self._vault.read, record.serial)
        async with self._store.transaction() as tx:
            await _set_level(tx, record.serial, self._pool.profile_of(record.serial).custody)
            tx.journal("token.pin_exported", f"token:{record.serial}", label=record.label)
        await asyncio.to_thread(self._vault.export, record.serial)
        return await self.get(record.serial)

    async def reassess(self) -> None:
        """Show what each token's keys are worth on this machine, after a restore from a backup of another."""
        for record in await self.list():
            try:
                level = await asyncio.to_thread(self._level, record.serial)
            except TokenNotFoundError:  # its module is not on this machine
                continue
            if level is not record.level:
                async with self._store.transaction() as tx:
                    await _set_level(tx, record.serial, level)
                    tx.journal("token.level_changed", f"token:{record.serial}", level=level.value)

    async def withdraw_pin(self, name: str) -> TokenRecord:
        """Give a structure token a new PIN, sealed, and remove the file of the old one.

        Copies of the token that were made before still open with the old PIN.

        Raises:
            NotFoundError, PinNotExportableError, SealBrokenError: as for `export_pin`.
            TokenFaultError: the token refused; the old PIN stands.
        """
        record = await self._exportable(name)
        if await asyncio.to_thread(self._vault.pin_file, record.serial) is None:
            return record
        await asyncio.to_thread(self._vault.prepare_next, record.serial)
        await self._change_pin(record.serial)
        async with self._store.transaction() as tx:
            await _set_level(tx, record.serial, self._level(record.serial))
            tx.journal("token.pin_withdrawn", f"token:{record.serial}", label=record.label)
        return await self.get(record.serial)

    async def retire(self, record: TokenRecord) -> None:
        """Give a token up whose keys are compromised; its structure gets a new one at its next order."""
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.update(tokens)
                .where(tokens.c.serial == record.serial)
                .values(
                    label=f"{record.label} ({record.serial})",
                    structure_id=None,
                    retired_at=tx.now,
                )
            )
            tx.journal("token.retired", f"token:{record.serial}", label=record.label)

    def _level(self, serial: TokenSerial) -> CustodyLevel:
        level = self._pool.profile_of(serial).custody
        if level is CustodyLevel.SOFTWARE and self._vault.binds(serial):
            return CustodyLevel.MACHINE_BOUND
        return level

    async def _label_for(self, structure_id: str) -> str:
        """Return the label of a structure's token; one that was given up keeps its own where labels make serials."""
        label = structure_label(structure_id, self._structures)
        if self._structures is None or not self._structures.profile.quirks.shares_serial:
            return label
        given_up = [each for each in await self.list() if each.retired_at and each.label.startswith(label)]
        return label if not given_up else f"{label} {len(given_up) + 1}"

    async def _exportable(self, name: str) -> TokenRecord:
        record = await self.get(name)
        if record.purpose is not TokenPurpose.STRUCTURE or record.retired_at is not None:
            raise PinNotExportableError(
                Text(
                    f"The token “{record.label}” is not a structure’s.",
                    f"Le jeton « {record.label} » n’est pas celui d’une structure.",
                )
            )
        return record

    async def _change_pin(self, serial: TokenSerial) -> None:
        """Give a token the user PIN that is prepared for it; doing it again changes nothing."""
        pins = await asyncio.to_thread(self._vault.prepare_next, serial)
        with token_errors_translated():
            await self._pool.init_pin(serial, pins.security_officer, pins.user)
        await asyncio.to_thread(self._vault.take_next, serial)
        await asyncio.to_thread(self._vault.withdraw, serial)
        self._pool.keep_open(serial, partial(self._vault.read, serial))

    async def _known(self, label: str) -> TokenRecord | None:
        async with self._store.read() as connection:
            statement = sa.select(tokens).where(tokens.c.machine == self._owner, tokens.c.label == label)
            row = (await connection.execute(statement)).first()
        return None if row is None else _record(row)

    async def _adopted(self, label: str) -> TokenSerial | None:
        """Find a token that was finished but got no row."""
        with token_errors_translated():
            present = await self._pool.list_tokens()
        rows = {record.serial for record in await self.list()}
        ours = [token.serial for token in present if token.label == label and token.serial not in rows]
        if not ours or label in await asyncio.to_thread(self._vault.pending):
            return None
        recorded = await asyncio.to_thread(self._vault.serials)
        for serial in ours:
            if serial in recorded:
                self._pool.keep_open(serial, partial(self._vault.read, serial))
                return serial
        raise TokenOrphanedError(
            Text(
                f"The token “{label}” ({ours[0]}) is not in this instance’s registry, so it is refused, "
                "whoever knows its PIN.",
                f"Le jeton « {label} » ({ours[0]}) n’est pas au registre de cette instance : il est refusé, même à "
                "qui connaît son code.",
            )
        )

    async def _record(
        self, serial: TokenSerial, label: str, purpose: TokenPurpose, structure_id: str | None
    ) -> None:
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.insert(tokens).values(
                    serial=serial,
                    machine=self._owner,
                    label=label,
                    purpose=purpose.value,
                    module=self._pool.profile_of(serial).name,
                    level=self._level(serial).value,
                    created_at=tx.now,
                )
            )
            if structure_id is not None:
                await _give_to_structure(tx, serial, structure_id)
            tx.journal("token.created", f"token:{serial}", label=label, purpose=purpose.value)


async def _set_level(tx: Transaction, serial: TokenSerial, level: CustodyLevel) -> None:
    """Show what a token's keys are worth now, wherever they are shown."""
    await tx.execute(sa.update(tokens).where(tokens.c.serial == serial).values(level=level.value))
    for table in (key_registry, orders, certificates):
        await tx.execute(sa.update(table).where(table.c.token_serial == serial).values(level=level.value))


async def _give_to_structure(tx: Transaction, serial: TokenSerial, structure_id: str) -> None:
    """Make a token the one that a structure's new keys go to."""
    of_structure = sa.update(tokens).where(tokens.c.structure_id == structure_id)
    await tx.execute(of_structure.values(structure_id=None))
    await tx.execute(sa.update(tokens).where(tokens.c.serial == serial).values(structure_id=structure_id))


def structure_label(structure_id: str, module: TokenHostPool | None = None) -> str:
    """Return the label of a structure's token, which names the module where it is not the usual one."""
    return f"cardd {structure_id}" + ("" if module is None else f" {module.profile.name}")


def _record(row: sa.Row[Any]) -> TokenRecord:
    return TokenRecord(
        serial=TokenSerial(row.serial),
        label=row.label,
        purpose=TokenPurpose(row.purpose),
        structure_id=row.structure_id,
        level=CustodyLevel(row.level),
        module=row.module,
        created_at=row.created_at,
        retired_at=row.retired_at,
    )
