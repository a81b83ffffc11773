"""Every key checked again, at the start and daily: is it still where and what it was when it was made?

Each token that the daemon holds is asked for its keys; what it says is compared with the registry, with the evidence
of the day the key was made, with the certificate issued for it, and with the token's chain. What does not fit is
reported. Keys on a token that the registry does not know are reported too, and left alone.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from cardd.clock import Clock
from cardd.custody.chain import TokenChains
from cardd.custody.errors import TokenFaultError, token_errors_translated
from cardd.custody.evidence import Evidence
from cardd.custody.registry import spki_hash
from cardd.custody.tokens import TokenKeeper, TokenRecord
from cardd.custody.types import Finding, KeyFinding, KeyView, SweepReport
from cardd.errors import NotFoundError
from cardd.store import Store
from cardd.store.tables import (
    cards,
    certificates,
    key_evidence,
    key_intents,
    key_registry,
    ready_keys,
    tokens,
)
from cardd_pkcs11.errors import TokenError
from cardd_pkcs11.operations import TokenPool
from cardd_pkcs11.types import KeyAttributes, KeyId, ObjectInfo, ObjectKind, TokenSerial

_log = structlog.get_logger(__name__)


class _Found(msgspec.Struct, frozen=True):
    """A key that a token holds and the registry does not know."""

    token_serial: TokenSerial
    key_id: KeyId
    spki_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class SweepParts:
    """What a sweep asks."""

    store: Store
    clock: Clock
    pool: TokenPool
    keeper: TokenKeeper
    chains: TokenChains
    evidence: Evidence


class Sweep:
    """Checks the keys of the daemon's own tokens and remembers what it found."""

    def __init__(self, parts: SweepParts) -> None:
        self._store = parts.store
        self._clock = parts.clock
        self._pool = parts.pool
        self._keeper = parts.keeper
        self._chains = parts.chains
        self._evidence = parts.evidence
        self._findings: dict[str, tuple[KeyFinding, ...]] = {}
        self._unregistered: tuple[_Found, ...] = ()
        self._turn = asyncio.Lock()
        self.report: SweepReport | None = None

    async def perform(self) -> SweepReport:
        """Check every key now; what was found is kept, and written into the journal.

        Raises:
            TokenFaultError: the module cannot be used.
        """
        async with self._turn:
            with token_errors_translated():
                present = {token.serial: token for token in await self._pool.list_tokens(refresh=True)}
            records = [record for record in await self._keeper.list() if record.retired_at is None]
            findings: dict[str, tuple[KeyFinding, ...]] = {}
            unregistered: list[_Found] = []
            for record in records:
                on_token, strangers = await self._of_token(record, present=record.serial in present)
                findings.update(on_token)
                unregistered.extend(strangers)
            await self.notice_copies()
            foreign = await self._foreign(present)
            self._findings, self._unregistered = findings, tuple(unregistered)
            return await self._reported(foreign)

    async def notice_copies(self) -> None:
        """Look for tokens of other machines that share the database: here they can only be copies.

        Raises:
            TokenFaultError: the module cannot be used.
        """
        if not self._store.shared:
            return
        with token_errors_translated():
            present = {token.serial for token in await self._pool.list_tokens(refresh=True)}
        ours = {record.serial for record in await self._keeper.list()}
        elsewhere = sa.select(tokens.c.serial).where(tokens.c.serial.in_(present - ours))
        async with self._store.read() as connection:
            copies = (await connection.execute(elsewhere)).scalars().all()
        for serial in copies:
            await self._chains.noticed_elsewhere(TokenSerial(serial))

    async def keys(self) -> tuple[KeyView, ...]:
        """Return every key known or found, with what the last sweep said of it."""
        async with self._store.read() as connection:
            held = (await connection.execute(sa.select(key_registry))).all()
            ready = (await connection.execute(sa.select(ready_keys))).all()
            named = (
                await connection.execute(sa.select(tokens.c.serial, tokens.c.label, tokens.c.level))
            ).all()
            stated = set((await connection.execute(sa.select(key_evidence.c.spki_sha256))).scalars())
            table = certificates
            issued = (
                await connection.execute(
                    sa.select(table.c.spki_sha256, table.c.serial).order_by(table.c.issued_at)
                )
            ).all()
        labels = {row.serial: row.label for row in named}
        levels = {row.serial: row.level for row in named}
        serials: defaultdict[str, list[str]] = defaultdict(list)
        for row in issued:
            serials[row.spki_sha256].append(row.serial)
        known = tuple(
            KeyView(
                id=row.spki_sha256,
                spki_sha256=row.spki_sha256,
                registered=True,
                holder_kind=row.holder_kind,
                holder=row.holder,
                level=row.level,
                token=labels.get(row.token_serial),
                token_serial=row.token_serial,
                key_id=row.key_id,
                certificates=tuple(serials[row.spki_sha256]),
                evidence=row.spki_sha256 in stated,
                claimed_at=row.claimed_at,
                findings=self._findings.get(row.spki_sha256, ()),
            )
            for row in held
        )
        stock = tuple(
            KeyView(
                id=row.spki_sha256,
                spki_sha256=row.spki_sha256,
                registered=False,
                ready=True,
                holder_kind=None,
                holder=None,
                level=levels.get(row.token_serial, "unknown"),
                token=labels.get(row.token_serial),
                token_serial=row.token_serial,
                key_id=row.key_id,
                certificates=(),
                evidence=row.spki_sha256 in stated,
                claimed_at=None,
                findings=self._findings.get(row.spki_sha256, ()),
            )
            for row in ready
        )
        return (*known, *stock, *(_stranger(found, labels) for found in self._unregistered))

    async def _of_token(
        self, record: TokenRecord, *, present: bool
    ) -> tuple[dict[str, tuple[KeyFinding, ...]], list[_Found]]:
        """Check the keys of one token; what concerns the token as a whole is found for each of its keys.

        Work goes on meanwhile: what seems wrong with a key that is just being made, certified or destroyed is not so at
        a second look. What is found twice counts.
        """
        findings, strangers = await self._look_at(record, present=present)
        if not strangers and not any(findings.values()):
            return findings, strangers
        again, strangers_again = await self._look_at(record, present=present)
        return (
            {
                spki_sha256: tuple(each for each in found if each in findings.get(spki_sha256, ()))
                for spki_sha256, found in again.items()
            },
            [each for each in strangers_again if each in strangers],
        )

    async def _look_at(
        self, record: TokenRecord, *, present: bool
    ) -> tuple[dict[str, tuple[KeyFinding, ...]], list[_Found]]:
        rows = [*await self._registered(record.serial), *await self._ready(record.serial)]
        if not present:
            return _for_all(rows, KeyFinding(finding=Finding.TOKEN_MISSING)), []
        try:
            divergence = await self._chains.check(record)
            if divergence is not None:
                found = KeyFinding(finding=Finding.TOKEN_QUARANTINED, details=(divergence.value,))
                return _for_all(rows, found), []
            with token_errors_translated():
                objects = await self._pool.list_objects(record.serial)
            findings = {row.spki_sha256: await self._of_key(record.serial, row, objects) for row in rows}
            return findings, await self._strangers(record.serial, rows, objects)
        except TokenFaultError as error:
            return _for_all(rows, KeyFinding(finding=Finding.TOKEN_UNREADABLE, details=(error.code,))), []

    async def _of_key(
        self, serial: TokenSerial, row: sa.Row[Any], objects: Iterable[ObjectInfo]
    ) -> tuple[KeyFinding, ...]:
        key_id = KeyId(bytes.fromhex(row.key_id))
        here = [each for each in objects if each.key_id == key_id]
        private = sum(each.kind is ObjectKind.PRIVATE_KEY for each in here)
        if private == 0:
            return (KeyFinding(finding=Finding.KEY_MISSING),)
        findings = [] if private == 1 else [KeyFinding(finding=Finding.IDENTIFIER_SHARED)]
        with token_errors_translated():
            attributes = await self._pool.key_attributes(serial, key_id)
            spki = await self._pool.public_key(serial, key_id)
        changed = await self._changed(row.spki_sha256, attributes)
        if changed:
            findings.append(KeyFinding(finding=Finding.ATTRIBUTES_CHANGED, details=changed))
        if spki_hash(spki) != row.spki_sha256:
            findings.append(KeyFinding(finding=Finding.PUBLIC_KEY_CHANGED))
        beside = {each.certificate for each in here if each.kind is ObjectKind.CERTIFICATE}
        missing = [
            each.serial for each in await self._meant_beside(row.spki_sha256) if each.der not in beside
        ]
        if missing:
            findings.append(KeyFinding(finding=Finding.CERTIFICATE_MISSING, details=tuple(missing)))
        return tuple(findings)

    async def _changed(self, spki_sha256: str, attributes: KeyAttributes) -> tuple[str, ...]:
        """Return the attributes that differ from those read back when the key was made."""
        try:
            made = (await self._evidence.get(spki_sha256)).statement.attributes
        except NotFoundError:
            return ()
        return tuple(
            name for name in made.__struct_fields__ if getattr(made, name) != getattr(attributes, name)
        )

    async def _strangers(
        self, serial: TokenSerial, rows: Iterable[sa.Row[Any]], objects: Iterable[ObjectInfo]
    ) -> list[_Found]:
        async with self._store.read() as connection:
            making = sa.select(key_intents.c.key_id).where(key_intents.c.token_serial == serial)
            known = {*(await connection.execute(making)).scalars(), *(row.key_id for row in rows)}
        found = []
        for each in objects:
            if each.kind is not ObjectKind.PRIVATE_KEY or (each.key_id or b"").hex() in known:
                continue
            found.append(_Found(serial, each.key_id or KeyId(b""), await self._named(serial, each.key_id)))
        return found

    async def _named(self, serial: TokenSerial, key_id: KeyId | None) -> str | None:
        try:
            return spki_hash(await self._pool.public_key(serial, key_id)) if key_id else None
        except TokenError:
            return None

    async def _registered(self, serial: TokenSerial) -> Sequence[sa.Row[Any]]:
        statement = sa.select(key_registry).where(
            key_registry.c.token_serial == serial, key_registry.c.key_id.is_not(None)
        )
        async with self._store.read() as connection:
            return (await connection.execute(statement)).all()

    async def _ready(self, serial: TokenSerial) -> Sequence[sa.Row[Any]]:
        statement = sa.select(ready_keys).where(ready_keys.c.token_serial == serial)
        async with self._store.read() as connection:
            return (await connection.execute(statement)).all()

    async def _meant_beside(self, spki_sha256: str) -> Sequence[sa.Row[Any]]:
        """Return the certificates of orders that were written beside a key."""
        table = certificates
        statement = sa.select(table).where(
            table.c.spki_sha256 == spki_sha256, table.c.kind == "order", table.c.on_token.is_(True)
        )
        async with self._store.read() as connection:
            return (await connection.execute(statement)).all()

    async def _foreign(self, present: Iterable[TokenSerial]) -> tuple[str, ...]:
        """Return the tokens that neither this instance's registry nor its cards know."""
        async with self._store.read() as connection:
            here = tokens.c.machine == self._store.machine, cards.c.machine == self._store.machine
            ours = set((await connection.execute(sa.select(tokens.c.serial).where(here[0]))).scalars())
            ours |= set((await connection.execute(sa.select(cards.c.token_serial).where(here[1]))).scalars())
        unfinished = await asyncio.to_thread(self._keeper.recorded)
        return tuple(sorted(serial for serial in present if serial not in ours and serial not in unfinished))

    async def _reported(self, foreign: tuple[str, ...]) -> SweepReport:
        count = sum(map(len, self._findings.values())) + len(self._unregistered)
        now = self._clock.now()
        report = SweepReport(swept_at=now, keys=len(self._findings), findings=count, foreign_tokens=foreign)
        async with self._store.transaction() as tx:
            for name, findings in self._findings.items():
                for each in findings:
                    tx.journal("key.finding", f"key:{name}", finding=each.finding, details=list(each.details))
            for found in self._unregistered:
                subject = f"token:{found.token_serial}"
                tx.journal("key.finding", subject, finding=Finding.UNREGISTERED, key_id=found.key_id.hex())
            tx.journal("keys.swept", "keys", keys=report.keys, findings=count, foreign_tokens=list(foreign))
        if count:
            _log.warning("custody.findings", findings=count, keys=report.keys)
        self.report = report
        return report


def _for_all(rows: Iterable[sa.Row[Any]], finding: KeyFinding) -> dict[str, tuple[KeyFinding, ...]]:
    return {row.spki_sha256: (finding,) for row in rows}


def _stranger(found: _Found, labels: dict[str, str]) -> KeyView:
    return KeyView(
        id=f"{found.token_serial}/{found.key_id.hex()}",
        spki_sha256=found.spki_sha256,
        registered=False,
        holder_kind=None,
        holder=None,
        level="unknown",
        token=labels.get(found.token_serial),
        token_serial=found.token_serial,
        key_id=found.key_id.hex(),
        certificates=(),
        evidence=False,
        claimed_at=None,
        findings=(KeyFinding(finding=Finding.UNREGISTERED),),
    )
