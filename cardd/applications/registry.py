"""The applications that were let in: who presents this token, what it may do, and putting an end to it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any

import msgspec
import sqlalchemy as sa

from cardd.applications.credentials import hashed
from cardd.applications.errors import ApplicationEndedError
from cardd.applications.identity import checked_name
from cardd.applications.types import ApplicationId, ApplicationState, ApplicationView, PairingState, Scope
from cardd.clock import Clock
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.store import Store, Transaction
from cardd.store.tables import applications, pairings
from cardd.text import Text

#: Seconds after which the applications are read anew, for changes that another daemon made in a shared database.
_FRESH_SECONDS = 1.0
#: Ended applications that a list still shows.
_ENDED_SHOWN = 100


class Applications:
    """The applications; those that may call are kept in memory by the hash of their token."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._active: Mapping[str, ApplicationView] = MappingProxyType({})
        self._active_by_id: Mapping[ApplicationId, ApplicationView] = MappingProxyType({})
        self._read_at: float | None = None
        self._changes = 0
        self._used: dict[ApplicationId, datetime] = {}

    async def holder_of(self, token: str) -> ApplicationView | None:
        """Return the application whose token this is, if it may call now."""
        await self._keep_fresh()
        found = self._active.get(hashed(token))
        now = self._clock.now()
        if found is None or _is_over(found, now):
            return None
        if found.last_used_at is None and found.id not in self._used:
            await self._note_first_use(found.id)
        self._used[found.id] = now
        return found

    def still_lets_in(self, application: ApplicationView) -> bool:
        """Tell at once whether an application that `holder_of` returned may call now, and note that it does.

        Whatever was read since makes another view of it: its holder is then to be looked up by the token again.
        """
        now = self._clock.now()
        if (
            not self._is_fresh()
            or self._active_by_id.get(application.id) is not application
            or _is_over(application, now)
        ):
            return False
        self._used[application.id] = now
        return True

    async def origins(self) -> frozenset[str]:
        """Return the origins of the applications that may call now."""
        await self._keep_fresh()
        now = self._clock.now()
        return frozenset(
            each.origin
            for each in self._active.values()
            if each.origin is not None and not _is_over(each, now)
        )

    def changed(self) -> None:
        """Have the applications read anew before the next answer: one was let in, or another no longer is."""
        self._changes += 1
        self._read_at = None

    async def list(self) -> Sequence[ApplicationView]:
        """Return every application, those that may call first, then the newest that ended."""
        is_over = applications.c.state.in_((ApplicationState.EXPIRED, ApplicationState.REVOKED))
        newest = (applications.c.created_at.desc(), applications.c.id.desc())
        async with self._store.read() as connection:
            rows = (await connection.execute(sa.select(applications).where(~is_over).order_by(*newest))).all()
            over = sa.select(applications).where(is_over).order_by(*newest).limit(_ENDED_SHOWN)
            rows = [*rows, *(await connection.execute(over)).all()]
        now = self._clock.now()
        return [self._with_use(application_view(row, now)) for row in rows]

    async def get(self, application_id: str) -> ApplicationView:
        """Return one application; raises `NotFoundError`."""
        async with self._store.read() as connection:
            statement = sa.select(applications).where(applications.c.id == application_id)
            row = (await connection.execute(statement)).first()
        if row is None:
            raise _unknown(application_id)
        return self._with_use(application_view(row, self._clock.now()))

    async def rename(self, application_id: str, name: str) -> ApplicationView:
        """Call an application by another name.

        Raises:
            NotFoundError, ApplicationEndedError, InvalidFieldsError
        """
        name = checked_name(name)
        async with self._store.transaction() as tx:
            row = await _living(tx, application_id)
            await tx.execute(sa.update(applications).where(applications.c.id == row.id).values(name=name))
            tx.journal("application.renamed", _subject(row.id), old_name=row.name, name=name)
            tx.publish(EventType.APPLICATION_RENAMED, _subject(row.id), name=name)
        self.changed()
        return await self.get(application_id)

    async def revoke(self, application_id: str) -> None:
        """Let an application in no more, from this moment; raises `NotFoundError` and `ApplicationEndedError`."""
        async with self._store.transaction() as tx:
            row = await _living(tx, application_id)
            await _end(tx, row, ApplicationState.REVOKED)
            tx.journal("application.revoked", _subject(row.id), name=row.name, origin=row.origin)
            tx.publish(EventType.APPLICATION_REVOKED, _subject(row.id), name=row.name)
        self.changed()

    async def expire_due(self) -> None:
        """End the applications whose time is over, and write down when each was used last."""
        now = self._clock.now()
        used, self._used = self._used, {}
        over = sa.and_(
            applications.c.state.in_((ApplicationState.WAITING, ApplicationState.ACTIVE)),
            applications.c.expires_at <= now,
        )
        async with self._store.read() as connection:
            due = (await connection.execute(sa.select(sa.func.count()).where(over))).scalar()
        if not due and not used:
            return
        async with self._store.transaction() as tx:
            for application_id, moment in used.items():
                await tx.execute(
                    sa.update(applications)
                    .where(applications.c.id == application_id)
                    .values(last_used_at=moment)
                )
            for row in (await tx.execute(sa.select(applications).where(over).with_for_update())).all():
                await _end(tx, row, ApplicationState.EXPIRED)
                tx.journal("application.expired", _subject(row.id), name=row.name, origin=row.origin)
                tx.publish(EventType.APPLICATION_EXPIRED, _subject(row.id), name=row.name)
        self.changed()

    async def _note_first_use(self, application_id: ApplicationId) -> None:
        """Close the pairing: whoever uses a token has received it."""
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.update(applications).where(applications.c.id == application_id).values(last_used_at=tx.now)
            )
            await tx.execute(
                sa.update(pairings)
                .where(pairings.c.application_id == application_id, pairings.c.state == PairingState.ALLOWED)
                .values(state=PairingState.COMPLETED)
            )
        self.changed()

    async def _keep_fresh(self) -> None:
        if self._is_fresh():
            return
        read_at, now = self._clock.monotonic(), self._clock.now()
        changes = self._changes
        statement = sa.select(applications).where(
            applications.c.state == ApplicationState.ACTIVE, applications.c.token_sha256.is_not(None)
        )
        async with self._store.read() as connection:
            rows = (await connection.execute(statement)).all()
        self._active = MappingProxyType({row.token_sha256: application_view(row, now) for row in rows})
        self._active_by_id = MappingProxyType({view.id: view for view in self._active.values()})
        # What changed while this was read may be missing from it.
        self._read_at = read_at if changes == self._changes else None

    def _is_fresh(self) -> bool:
        return self._read_at is not None and self._clock.monotonic() - self._read_at < _FRESH_SECONDS

    def _with_use(self, view: ApplicationView) -> ApplicationView:
        used = self._used.get(view.id)
        return view if used is None else msgspec.structs.replace(view, last_used_at=used)


def application_view(row: sa.Row[Any], now: datetime) -> ApplicationView:
    """Return what is shown of an application; one whose time is over is so at once."""
    state = ApplicationState(row.state)
    lives = state in (ApplicationState.WAITING, ApplicationState.ACTIVE)
    if lives and row.expires_at is not None and row.expires_at <= now:
        state = ApplicationState.EXPIRED
    return ApplicationView(
        id=ApplicationId(row.id), name=row.name, origin=row.origin, scopes=tuple(map(Scope, row.scopes)),
        state=state, created_at=row.created_at, expires_at=row.expires_at, last_used_at=row.last_used_at,
        ended_at=row.ended_at,
    )  # fmt: skip


def _is_over(application: ApplicationView, now: datetime) -> bool:
    return application.expires_at is not None and application.expires_at <= now


async def _living(tx: Transaction, application_id: str) -> sa.Row[Any]:
    statement = sa.select(applications).where(applications.c.id == application_id).with_for_update()
    row = (await tx.execute(statement)).first()
    if row is None:
        raise _unknown(application_id)
    if row.state not in (ApplicationState.WAITING, ApplicationState.ACTIVE):
        raise ApplicationEndedError(
            Text(f"“{row.name}” is no longer let in.", f"« {row.name} » n’a plus accès."), state=row.state
        )
    return row


async def _end(tx: Transaction, row: sa.Row[Any], state: ApplicationState) -> None:
    """End an application; its token is forgotten, and its pairing hands out none any more."""
    values = {"state": state, "ended_at": tx.now, "token_sha256": None}
    await tx.execute(sa.update(applications).where(applications.c.id == row.id).values(values))
    await tx.execute(
        sa.update(pairings)
        .where(pairings.c.application_id == row.id, pairings.c.state == PairingState.ALLOWED)
        .values(state=PairingState.EXPIRED)
    )


def _subject(application_id: str) -> str:
    return f"application:{application_id}"


def _unknown(application_id: str) -> NotFoundError:
    return NotFoundError.of(Text("application", "application"), application_id)
