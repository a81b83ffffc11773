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
from cardd.store import Store
from cardd.store.tables import tokens
from cardd.text import Text
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import CustodyLevel, TokenSerial

#: CK_TOKEN_INFO.label, in bytes of UTF-8 (PKCS#11 v2.40 §3.2).
_LABEL_BYTES = 32

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


class TokenOrphanedError(TokenFaultError):
    """A token bears the label to be used, but its PIN is not in the vault."""

    code = "token_orphaned"
    status = 500
    title = Text("A token’s PIN is lost", "Le code d’un jeton est perdu")
    default_advice = Text(
        "Restore the state directory from its backup, or move the orphaned token away, and start again.",
        "Restaurez le répertoire d’état depuis sa sauvegarde, ou écartez le jeton orphelin, puis redémarrez.",
    )


class TokenKeeper:
    """Makes the daemon's tokens and keeps them open in the pool."""

    def __init__(self, store: Store, pool: TokenHostPool, vault: PinVault) -> None:
        self._store = store
        self._pool = pool
        self._vault = vault
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def reopen(self) -> None:
        """At start: keep every recorded token open, and report those that the module does not show.

        Raises:
            TokenFaultError: the module cannot be used.
        """
        records = await self.list()
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
            serial = await self._adopted(label) or await make_token(self._pool, self._vault, label)
            await self._record(serial, label, purpose, structure_id)
            return serial

    async def for_structure(self, structure_id: str) -> TokenRecord:
        """Return the token of a structure, made at the first call."""
        label = structure_label(structure_id)
        await self.ensure(label, purpose=TokenPurpose.STRUCTURE, structure_id=structure_id)
        record = await self._known(label)
        if record is None:
            raise RuntimeError("a token that was just recorded is not there")
        return record

    async def list(self) -> tuple[TokenRecord, ...]:
        """Return every token of the daemon's, oldest first."""
        async with self._store.read() as connection:
            rows = (await connection.execute(sa.select(tokens).order_by(tokens.c.created_at))).all()
        return tuple(map(_record, rows))

    async def _known(self, label: str) -> TokenRecord | None:
        async with self._store.read() as connection:
            row = (await connection.execute(sa.select(tokens).where(tokens.c.label == label))).first()
        return None if row is None else _record(row)

    async def _adopted(self, label: str) -> TokenSerial | None:
        """Find a token that was finished but got no row."""
        with token_errors_translated():
            present = await self._pool.list_tokens()
        ours = [token.serial for token in present if token.label == label]
        if not ours or label in await asyncio.to_thread(self._vault.pending):
            return None
        recorded = await asyncio.to_thread(self._vault.serials)
        for serial in ours:
            if serial in recorded:
                self._pool.keep_open(serial, partial(self._vault.read, serial))
                return serial
        raise TokenOrphanedError(
            Text(
                f"The token “{label}” ({ours[0]}) exists, but its PIN is not recorded.",
                f"Le jeton « {label} » ({ours[0]}) existe, mais son code n’est pas enregistré.",
            )
        )

    async def _record(
        self, serial: TokenSerial, label: str, purpose: TokenPurpose, structure_id: str | None
    ) -> None:
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.insert(tokens).values(
                    serial=serial,
                    label=label,
                    purpose=purpose.value,
                    structure_id=structure_id,
                    module=self._pool.profile.name,
                    level=self._pool.profile.custody.value,
                    created_at=tx.now,
                )
            )
            tx.journal("token.created", f"token:{serial}", label=label, purpose=purpose.value)


def structure_label(structure_id: str) -> str:
    """Return the label of a structure's token."""
    return f"cardd {structure_id}"


def _record(row: sa.Row[Any]) -> TokenRecord:
    return TokenRecord(
        serial=TokenSerial(row.serial),
        label=row.label,
        purpose=TokenPurpose(row.purpose),
        structure_id=row.structure_id,
        level=CustodyLevel(row.level),
        module=row.module,
        created_at=row.created_at,
    )
