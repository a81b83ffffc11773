"""Revocation lists of the CAs: numbered, published and kept fresh.

A list's number is never lower than any before it, even after a crash or when an older state is
restored: it follows the last one given out and the clock (seconds since 1970), whichever is greater.
A number is committed before its list is signed; a start that finds a number without its list
publishes anew. One publication a CA runs at a time, on one machine of those that share the database; those who ask
meanwhile share the next one. Nobody waits for a list that is large: `publish_large` publishes it. A machine that dies
while it publishes lets go, and the next one takes over. A machine without the CA keys publishes nothing and serves what
the others have published.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from typing import Any

import sqlalchemy as sa
import structlog

from cardd.clock import Clock
from cardd.events import EventType
from cardd.igc.authority import Authority
from cardd.igc.crl import CrlBuilder, Entries, entries_of
from cardd.igc.lint import Linter
from cardd.igc.names import CaName
from cardd.igc.policy import PkiPolicy
from cardd.store import Store, Transaction, tables
from cardd_pkcs11.tasks import together

#: A list further ahead than this was made while the clock was wrong: clients would take it for one of the future.
_CLOCK_SKEW = timedelta(minutes=5)
_log = structlog.get_logger(__name__)


class ListKind(StrEnum):
    """A complete list, or what changed since a base (RFC 5280 §5.2.4)."""

    FULL = "full"
    DELTA = "delta"


@dataclass(frozen=True)
class PublishedList:
    """A list as it is served."""

    issuer: CaName
    kind: ListKind
    number: int
    base_number: int
    this_update: datetime
    next_update: datetime
    entries: int
    der: bytes

    @property
    def begins(self) -> int:
        """The number after which what it carries was first listed: its base's in a delta."""
        return 0 if self.kind is ListKind.FULL else self.base_number

    @cached_property
    def sha256(self) -> str:
        """The hash of its DER, hexadecimal; of a large list it is first asked for away from the loop."""
        return sha256(self.der).hexdigest()


@dataclass(frozen=True)
class _Numbered:
    """A publication whose number is committed: what its two lists will say."""

    number: int
    base_number: int
    at: datetime
    full: Entries
    delta: Entries


@dataclass(frozen=True)
class PublisherParts:
    """What the publisher works with; `on_change` hears of a CA that has revoked something."""

    store: Store
    clock: Clock
    policy: PkiPolicy
    linter: Linter
    authorities: Mapping[CaName, Authority]
    base_every: timedelta
    on_change: Callable[[CaName], None]


#: How long one machine waits for another that publishes, and for its list where it cannot publish itself. Seconds.
_TURN_SECONDS = 30.0
_ANOTHER_SECONDS = 3.0
#: From so many entries on, signing and storing a list takes long enough that a revocation is answered without it.
LARGE_ENTRIES = 20_000


class CrlPublisher:
    """Publishes the lists of every CA of the hierarchy."""

    def __init__(self, parts: PublisherParts) -> None:
        #: Whether the CA keys are on other machines, which then publish.
        self.elsewhere = False
        self._followed = asyncio.Event()
        self._large_wanted = asyncio.Event()
        self._parts = parts
        self._store = parts.store
        self._builder = CrlBuilder(parts.policy, parts.linter)
        self._lists: dict[tuple[CaName, ListKind], PublishedList] = {}
        self._bases: dict[CaName, PublishedList] = {}
        self._turns: dict[CaName, asyncio.Lock] = {}
        self._turn_here = asyncio.Lock()

    def current(self, issuer: CaName, kind: ListKind) -> PublishedList:
        """Return the list as published last; `KeyError` before the first start has published."""
        return self._lists[issuer, kind]

    def all(self) -> list[PublishedList]:
        """Return every list published last."""
        return list(self._lists.values())

    async def start(self) -> None:
        """Load what was published, then publish what is missing, due, or was cut short."""
        await self.follow()
        await self.refresh()

    async def follow(self) -> None:
        """Take over what any machine has published last."""
        table = tables.crls
        async with self._store.read() as connection:
            numbers = (
                await connection.execute(sa.select(table.c.issuer, table.c.number, table.c.kind))
            ).all()
            known = {(each.issuer.value, each.number, each.kind) for each in self._all_known()}
            new = [row for row in numbers if (row.issuer, row.number, row.kind) not in known]
            wanted = sa.tuple_(table.c.issuer, table.c.number, table.c.kind).in_([tuple(row) for row in new])
            rows = (
                (await connection.execute(sa.select(table).where(wanted).order_by(table.c.number))).all()
                if new
                else []
            )
        for row in rows:
            self._remember(_from_row(row))
        self._followed.set()

    async def refresh(self) -> None:
        """Publish the lists of every CA for which a list is wanted or due."""
        if self._store.shared:
            await self.follow()
        if self.elsewhere:
            return
        await self._publish_all([name for name in self._parts.authorities if await self._is_due(name)])

    async def publish_wanted(self) -> None:
        """Publish at once the lists of the CAs that have revoked something since their last list.

        This waits for the lists that are not large. Where other machines have the CA keys, they hear of the revocation
        and publish, and this waits for their lists, but not for long: a revocation stands, whenever its list comes.
        """
        names = await self._wanted()
        for name in names:
            self._parts.on_change(name)
        if self.elsewhere:
            await self._published_elsewhere()
            return
        small = [name for name in names if not self._is_large(name)]
        if len(small) < len(names):
            self._large_wanted.set()
        await self._publish_all(small)

    async def publish_large(self) -> None:
        """Publish the lists that nobody waits for, as they are wanted, until cancelled."""
        while True:
            self._large_wanted.clear()
            if not self.elsewhere:
                await self._publish_all(await self._wanted())
            await self._large_wanted.wait()

    def _is_large(self, name: CaName) -> bool:
        full = self._lists.get((name, ListKind.FULL))
        return full is not None and full.entries >= LARGE_ENTRIES

    async def _wanted(self) -> list[CaName]:
        """Return the CAs whose list is wanted, or numbered and not here yet."""
        table = tables.authorities
        columns = sa.select(table.c.name, table.c.crl_wanted, table.c.crl_number)
        async with self._store.read() as connection:
            rows = (await connection.execute(columns)).all()
        here = {name: found.number for (name, kind), found in self._lists.items() if kind is ListKind.FULL}
        return [
            name
            for name, row in ((CaName(row.name), row) for row in rows)
            if row.crl_wanted or row.crl_number > here.get(name, 0)
        ]

    async def _published_elsewhere(self) -> None:
        """Wait until the machines with the CA keys have published what is wanted."""
        try:
            async with asyncio.timeout(_ANOTHER_SECONDS):
                while not all(map(self._is_large, await self._wanted())):
                    self._followed.clear()
                    await self._followed.wait()
        except TimeoutError:
            _log.warning("crl.not_published_yet", why="no machine with the CA keys has published it")

    async def _publish_all(self, names: list[CaName]) -> None:
        if not self._store.shared:
            await together(self._publish_in_turn(name) for name in names)
            return
        async with self._turn_here:
            due = [name for name in names if await self._is_due(name)]
            if due:
                await self._publish_among_machines(due)

    async def _publish_among_machines(self, names: Iterable[CaName]) -> None:
        """Publish while no other machine does; what another has published meanwhile is taken over."""
        async with self._store.exclusively("lists", wait=_TURN_SECONDS) as alone:
            await self.follow()
            if alone:
                await together(self._publish_in_turn(name) for name in names)

    async def _publish_in_turn(self, name: CaName) -> None:
        async with self._turns.setdefault(name, asyncio.Lock()):
            if await self._is_due(name):
                await self._publish(name)

    async def _is_due(self, name: CaName) -> bool:
        full, delta = self._lists.get((name, ListKind.FULL)), self._lists.get((name, ListKind.DELTA))
        if full is None or delta is None:
            return True
        table = tables.authorities
        columns = sa.select(table.c.crl_wanted, table.c.crl_number).where(table.c.name == name)
        async with self._store.read() as connection:
            row = (await connection.execute(columns)).one()
        now = self._parts.clock.now()
        return bool(
            row.crl_wanted
            or row.crl_number > full.number
            or now < full.this_update - _CLOCK_SKEW
            or now >= self._bases[name].this_update + self._parts.base_every
            or now >= full.next_update - self._parts.policy.crl_refresh_before
            or now >= delta.next_update - self._parts.policy.delta_refresh_before
        )

    async def _publish(self, name: CaName) -> None:
        numbered = await self._take_number(name)
        full, delta = await together(self._sign(name, kind, numbered) for kind in ListKind)
        async with self._store.transaction() as tx:
            if not await _is_newest(tx, numbered, name):
                return
            await self._replace(tx, name, (full, delta))
            tx.journal("crl.publish", f"crl:{name}", number=full.number, entries=full.entries)
            tx.publish(
                EventType.CRL_PUBLISHED,
                f"crl:{name}",
                number=full.number,
                entries=full.entries,
                next_update=full.next_update.isoformat(),
            )
        self._remember(full)
        self._remember(delta)

    async def _take_number(self, name: CaName) -> _Numbered:
        """Commit the next number and fix what the lists of that number carry."""
        async with self._store.transaction() as tx:
            row = (
                await tx.execute(
                    sa.select(tables.authorities).where(tables.authorities.c.name == name).with_for_update()
                )
            ).one()
            number = max(row.crl_number + 1, int(tx.now.timestamp()))
            await tx.execute(
                sa.update(tables.authorities)
                .where(tables.authorities.c.name == name)
                .values(crl_number=number, crl_wanted=False)
            )
            revoked = tables.certificates
            unlisted = revoked.c.crl_entry.is_not(None) & revoked.c.first_crl.is_(None)
            new = await _entries(tx, name, unlisted)
            await tx.execute(
                sa.update(revoked).where((revoked.c.issuer == name) & unlisted).values(first_crl=number)
            )
            base = self._base_number(name, number, tx.now)
            return _Numbered(
                number=number,
                base_number=base,
                at=tx.now,
                full=(await self._earlier(tx, name, row.crl_number, after=0)).followed_by(new),
                delta=(await self._earlier(tx, name, row.crl_number, after=base)).followed_by(new)
                if base < number
                else Entries(),
            )

    async def _earlier(self, tx: Transaction, name: CaName, newest: int, *, after: int) -> Entries:
        """Return what lists up to `newest` carried first that have a higher number than `after`.

        The lists published last have it in one piece, unless another has been numbered since.
        """
        for kind in ListKind:
            known = self._lists.get((name, kind))
            if known is not None and known.number == newest and known.begins == after:
                return await asyncio.to_thread(entries_of, known.der, known.entries)
        first = tables.certificates.c.first_crl
        return Entries(more=await _entries(tx, name, (first > after) & (first <= newest)))

    def _base_number(self, name: CaName, number: int, now: datetime) -> int:
        base = self._bases.get(name)
        if base is None or now >= base.this_update + self._parts.base_every or now < base.this_update:
            return number
        return base.number

    async def _sign(self, name: CaName, kind: ListKind, numbered: _Numbered) -> PublishedList:
        authority = self._parts.authorities[name]
        if kind is ListKind.FULL:
            signed = await self._builder.complete(authority, numbered.number, numbered.full, numbered.at)
        else:
            signed = await self._builder.delta(
                authority, numbered.number, numbered.base_number, numbered.delta, numbered.at
            )
        published = PublishedList(
            issuer=name,
            kind=kind,
            number=signed.number,
            base_number=numbered.base_number,
            this_update=signed.this_update,
            next_update=signed.next_update,
            entries=signed.entries,
            der=signed.der,
        )
        await asyncio.to_thread(getattr, published, "sha256")
        return published

    async def _replace(
        self, tx: Transaction, name: CaName, lists: tuple[PublishedList, PublishedList]
    ) -> None:
        """Store the new lists; of the former ones keep the base that deltas refer to."""
        table = tables.crls
        base = lists[0].base_number
        is_base = (table.c.kind == ListKind.FULL) & (table.c.number == base)
        await tx.execute(sa.delete(table).where((table.c.issuer == name) & ~is_base))
        await tx.execute(sa.insert(table), [_to_row(published) for published in lists])

    def _all_known(self) -> Iterable[PublishedList]:
        return (*self._lists.values(), *self._bases.values())

    def _remember(self, published: PublishedList) -> None:
        self._lists[published.issuer, published.kind] = published
        if published.kind is ListKind.FULL and published.number == published.base_number:
            self._bases[published.issuer] = published


async def _entries(tx: Transaction, issuer: CaName, which: sa.ColumnElement[bool]) -> list[bytes]:
    """Return the encoded entries of a CA that are asked for, in the order of their revocations."""
    table = tables.certificates
    statement = sa.select(table.c.crl_entry).where((table.c.issuer == issuer) & which)
    return list((await tx.execute(statement.order_by(table.c.revoked_at))).scalars())


async def _is_newest(tx: Transaction, numbered: _Numbered, name: CaName) -> bool:
    """Tell whether nobody has taken a higher number since, so that a list never takes a newer one's place."""
    table = tables.authorities
    given = (await tx.execute(sa.select(table.c.crl_number).where(table.c.name == name))).scalar_one()
    return bool(given == numbered.number)


def leap_numbers(state: sa.Connection, by: int) -> None:
    """Let the next list of every CA be a new base with a number higher than any that may have been given out."""
    numbers = tables.authorities
    state.execute(sa.update(numbers).values(crl_number=numbers.c.crl_number + by, crl_wanted=True))
    state.execute(sa.delete(tables.crls))


def _to_row(published: PublishedList) -> dict[str, Any]:
    return {name: getattr(published, name) for name in PublishedList.__dataclass_fields__}


def _from_row(row: sa.Row[Any]) -> PublishedList:
    values = row._asdict()
    return PublishedList(**{**values, "issuer": CaName(values["issuer"]), "kind": ListKind(values["kind"])})
