"""Pairing: an application asks, the owner compares six digits and decides, the application fetches its token.

Each step is one transaction. Between the owner's yes and the first use of a token, the application may fetch
again, should an answer have got lost: it gets a new token, and the one before is worth nothing.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from cardd.applications.credentials import hashed, new_code, new_id, new_secret, new_token, same
from cardd.applications.errors import (
    PairingCodeIncorrectError,
    PairingDeniedError,
    PairingEndedError,
    PairingPendingError,
    TooManyPairingsError,
)
from cardd.applications.identity import checked_name, checked_origin
from cardd.applications.registry import Applications, application_view
from cardd.applications.types import (
    ApplicationId,
    ApplicationState,
    ApplicationView,
    ApprovalRequest,
    PairingId,
    PairingOutcome,
    PairingRequest,
    PairingState,
    PairingTicket,
    PairingView,
    Scope,
)
from cardd.clock import Clock
from cardd.errors import CarddError, FieldProblem, InvalidFieldsError, NotFoundError
from cardd.events import EventType
from cardd.store import Store, Transaction
from cardd.store.tables import applications, pairings
from cardd.text import Text

#: What may follow each state of a pairing; the states that nothing follows are final.
PAIRING_STEPS: Mapping[PairingState, frozenset[PairingState]] = MappingProxyType(
    {
        PairingState.PENDING: frozenset(
            {PairingState.ALLOWED, PairingState.DENIED, PairingState.EXPIRED, PairingState.LOCKED}
        ),
        PairingState.ALLOWED: frozenset({PairingState.COMPLETED, PairingState.EXPIRED, PairingState.LOCKED}),
        PairingState.COMPLETED: frozenset(),
        PairingState.DENIED: frozenset(),
        PairingState.EXPIRED: frozenset(),
        PairingState.LOCKED: frozenset(),
    }
)


class PairingPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long the steps may take, and how much is asked of the owner at once."""

    decide_within: timedelta = timedelta(minutes=5)
    fetch_within: timedelta = timedelta(minutes=5)
    most_pages: int = 4
    """Applications in browsers that ask at once; any page a user visits may be one of them."""
    most_programs: int = 8
    """Programs of this user that ask at once."""
    tries: int = 5
    """Wrong codes or secrets after which a pairing is locked."""
    interval_seconds: int = 2
    kept_for: timedelta = timedelta(days=30)
    """Pairings that are over are forgotten after this; the journal keeps them."""


class Pairings:
    """The requests to be let in."""

    def __init__(
        self, store: Store, clock: Clock, applications: Applications, policy: PairingPolicy | None = None
    ) -> None:
        self.policy = policy or PairingPolicy()
        self._applications = applications
        self._store = store
        self._clock = clock

    async def ask(self, request: PairingRequest, sent_origin: str | None) -> PairingTicket:
        """Ask the owner to let an application in; `sent_origin` is what the browser said of the page that asks.

        Raises:
            InvalidFieldsError: name or origin.
            PairingPendingError: the same origin, or a program of that name, asks already.
            TooManyPairingsError
        """
        name, origin = checked_name(request.name), checked_origin(request, sent_origin)
        scopes = tuple(scope for scope in Scope if scope in request.scopes)
        secret, identifier = new_secret(), PairingId(new_id())
        requester = origin or f"program:{name}"
        try:
            async with self._store.transaction() as tx:
                await self._expire(tx)
                code = await self._free_code(tx, is_page=origin is not None)
                expires_at = tx.now + self.policy.decide_within
                await tx.execute(
                    sa.insert(pairings).values(
                        id=identifier, name=name, origin=origin, requester=requester,
                        scopes=[scope.value for scope in scopes], state=PairingState.PENDING, code=code,
                        secret_sha256=hashed(secret), failures=0, requested_at=tx.now, expires_at=expires_at,
                    )
                )  # fmt: skip
                wanted = [scope.value for scope in scopes]
                tx.journal("pairing.requested", _subject(identifier), name=name, origin=origin, scopes=wanted)
                tx.publish(EventType.PAIRING_REQUESTED, _subject(identifier), name=name, origin=origin)
        except IntegrityError:
            raise PairingPendingError(
                Text(f"“{requester}” has asked already.", f"« {requester} » a déjà demandé."),
                retry_after=int(self.policy.decide_within.total_seconds()),
            ) from None
        return PairingTicket(
            id=identifier, code=code, secret=secret, state=PairingState.PENDING, expires_at=expires_at,
            interval=self.policy.interval_seconds,
        )  # fmt: skip

    async def pending(self) -> tuple[PairingView, ...]:
        """Return what waits for the owner's decision, the oldest first."""
        statement = (
            sa.select(pairings)
            .where(pairings.c.state == PairingState.PENDING, pairings.c.expires_at > self._clock.now())
            .order_by(pairings.c.requested_at, pairings.c.id)
        )
        async with self._store.read() as connection:
            return tuple(self._view(row) for row in (await connection.execute(statement)).all())

    async def get(self, pairing_id: str) -> PairingView:
        """Return one pairing; raises `NotFoundError`."""
        async with self._store.read() as connection:
            row = (await connection.execute(sa.select(pairings).where(pairings.c.id == pairing_id))).first()
        if row is None:
            raise _unknown(pairing_id)
        return self._view(row)

    async def allow(self, pairing_id: str, request: ApprovalRequest) -> ApplicationView:
        """Let an application in, with some of the scopes that it asked for.

        Raises:
            NotFoundError
            PairingEndedError: with `state`.
            PairingCodeIncorrectError: with `tries_left`; at none, the pairing is locked.
            InvalidFieldsError: a scope that was not asked for.
        """
        code = "".join(request.code.split())
        async with self._store.transaction() as tx:
            row = await self._open_row(tx, pairing_id, PairingState.PENDING)
            refusal = None if same(code, row.code) else await self._count_failure(tx, row)
            if refusal is None:
                return await self._allow(tx, row, request)
        raise refusal

    async def deny(self, pairing_id: str) -> None:
        """Turn an application away; raises `NotFoundError` and `PairingEndedError`."""
        async with self._store.transaction() as tx:
            row = await self._open_row(tx, pairing_id, PairingState.PENDING)
            await _step(tx, row, PairingState.DENIED, decided_at=tx.now)
            tx.journal("pairing.denied", _subject(row.id), name=row.name, origin=row.origin)
            tx.publish(EventType.PAIRING_DENIED, _subject(row.id), name=row.name)

    async def fetch(self, pairing_id: str, secret: str) -> PairingOutcome:
        """Answer an application that asks what was decided; once allowed, with a token.

        Raises:
            NotFoundError
            PairingCodeIncorrectError: not the secret; with `tries_left`.
            PairingDeniedError
            PairingEndedError: with `state`.
        """
        async with self._store.transaction() as tx:
            row = await self._row(tx, pairing_id)
            right = same(hashed(secret), row.secret_sha256)
            answer = await self._outcome(tx, row) if right else await self._count_failure(tx, row)
        if isinstance(answer, CarddError):
            raise answer
        self._applications.changed()
        return answer

    async def expire_due(self) -> None:
        """End what waited too long, and forget what is long over."""
        now = self._clock.now()
        waiting = pairings.c.state.in_((PairingState.PENDING, PairingState.ALLOWED))
        over = sa.select(sa.func.count()).where(
            sa.or_(
                sa.and_(waiting, pairings.c.expires_at <= now),
                sa.and_(~waiting, pairings.c.requested_at < now - self.policy.kept_for),
            )
        )
        async with self._store.read() as connection:
            if not (await connection.execute(over)).scalar():
                return
        async with self._store.transaction() as tx:
            await self._expire(tx)
            old = sa.and_(~waiting, pairings.c.requested_at < tx.now - self.policy.kept_for)
            await tx.execute(sa.delete(pairings).where(old))

    async def _outcome(self, tx: Transaction, row: sa.Row[Any]) -> PairingOutcome:
        match PairingState(row.state):
            case PairingState.PENDING if row.expires_at > tx.now:
                return PairingOutcome(state=PairingState.PENDING)
            case PairingState.ALLOWED if row.expires_at > tx.now:
                return await _hand_out(tx, row)
            case PairingState.DENIED:
                raise PairingDeniedError(
                    Text("The owner does not let it in.", "Le propriétaire ne l’admet pas.")
                )
            case PairingState.PENDING | PairingState.ALLOWED:
                raise _ended(PairingState.EXPIRED)
            case state:
                raise _ended(state)

    async def _allow(self, tx: Transaction, row: sa.Row[Any], request: ApprovalRequest) -> ApplicationView:
        scopes = _granted(row.scopes, request.scopes)
        identifier = ApplicationId(new_id())
        ends = tx.now + timedelta(days=request.days) if request.days is not None else None
        values = {
            "id": identifier, "name": row.name, "origin": row.origin, "scopes": scopes,
            "state": ApplicationState.WAITING, "created_at": tx.now, "expires_at": ends,
        }  # fmt: skip
        await tx.execute(sa.insert(applications).values(values))
        until = tx.now + self.policy.fetch_within
        await _step(
            tx, row, PairingState.ALLOWED, application_id=identifier, decided_at=tx.now, expires_at=until
        )
        tx.journal(
            "pairing.allowed", _subject(row.id), application=identifier, name=row.name, origin=row.origin,
            scopes=scopes, expires_at=ends.isoformat() if ends else None,
        )  # fmt: skip
        tx.publish(EventType.PAIRING_ALLOWED, _subject(row.id), application=identifier, name=row.name)
        await tx.answer("application", identifier)
        made = (await tx.execute(sa.select(applications).where(applications.c.id == identifier))).one()
        return application_view(made, tx.now)

    async def _count_failure(self, tx: Transaction, row: sa.Row[Any]) -> CarddError:
        """Count a wrong code or secret, and return what is to be raised once that is committed."""
        failures = row.failures + 1
        left = max(self.policy.tries - failures, 0)
        await tx.execute(sa.update(pairings).where(pairings.c.id == row.id).values(failures=failures))
        tx.journal("pairing.code_refused", _subject(row.id), tries_left=left)
        if left == 0 and PairingState.LOCKED in PAIRING_STEPS[PairingState(row.state)]:
            await _end(tx, row, PairingState.LOCKED)
        return PairingCodeIncorrectError.with_tries(left)

    async def _expire(self, tx: Transaction) -> None:
        waiting = pairings.c.state.in_((PairingState.PENDING, PairingState.ALLOWED))
        statement = sa.select(pairings).where(waiting, pairings.c.expires_at <= tx.now).with_for_update()
        for row in (await tx.execute(statement)).all():
            await _end(tx, row, PairingState.EXPIRED)

    async def _free_code(self, tx: Transaction, *, is_page: bool) -> str:
        """Return a code that no other pending pairing shows; raises `TooManyPairingsError`."""
        statement = sa.select(pairings.c.code, pairings.c.origin).where(
            pairings.c.state == PairingState.PENDING
        )
        rows = (await tx.execute(statement)).all()
        asking = sum((row.origin is not None) == is_page for row in rows)
        if asking >= (self.policy.most_pages if is_page else self.policy.most_programs):
            raise TooManyPairingsError(
                Text(f"{asking} applications wait.", f"{asking} applications attendent."),
                retry_after=int(self.policy.decide_within.total_seconds()),
            )
        taken = {row.code for row in rows}
        while (code := new_code()) in taken:
            continue
        return code

    async def _row(self, tx: Transaction, pairing_id: str) -> sa.Row[Any]:
        statement = sa.select(pairings).where(pairings.c.id == pairing_id).with_for_update()
        row = (await tx.execute(statement)).first()
        if row is None:
            raise _unknown(pairing_id)
        return row

    async def _open_row(self, tx: Transaction, pairing_id: str, wanted: PairingState) -> sa.Row[Any]:
        row = await self._row(tx, pairing_id)
        if row.state != wanted:
            raise _ended(PairingState(row.state))
        if row.expires_at <= tx.now:
            raise _ended(PairingState.EXPIRED)
        return row

    def _view(self, row: sa.Row[Any]) -> PairingView:
        return PairingView(
            id=PairingId(row.id), name=row.name, origin=row.origin, scopes=tuple(map(Scope, row.scopes)),
            code=row.code, state=PairingState(row.state), requested_at=row.requested_at,
            expires_at=row.expires_at, tries_left=max(self.policy.tries - row.failures, 0),
        )  # fmt: skip


async def _hand_out(tx: Transaction, row: sa.Row[Any]) -> PairingOutcome:
    """Give an allowed application a token; an earlier one, which was not used, is worth nothing any more."""
    token = new_token()
    ours = applications.c.id == row.application_id
    await tx.execute(
        sa.update(applications)
        .where(ours, applications.c.state.in_((ApplicationState.WAITING, ApplicationState.ACTIVE)))
        .values(token_sha256=hashed(token), state=ApplicationState.ACTIVE)
    )
    found = (await tx.execute(sa.select(applications).where(ours))).one()
    view = application_view(found, tx.now)
    if view.state is not ApplicationState.ACTIVE:
        raise _ended(PairingState.EXPIRED)
    tx.journal("application.token_fetched", f"application:{row.application_id}", name=found.name)
    tx.publish(EventType.APPLICATION_ACTIVATED, f"application:{row.application_id}", name=found.name)
    return PairingOutcome(state=PairingState.ALLOWED, token=token, application=view)


async def _end(tx: Transaction, row: sa.Row[Any], state: PairingState) -> None:
    """End a pairing that came to nothing; an application that never fetched its token goes with it."""
    still = PairingState(row.state)
    waiting = sa.and_(
        applications.c.id == row.application_id, applications.c.state == ApplicationState.WAITING
    )
    if still is PairingState.ALLOWED:
        await tx.execute(
            sa.update(applications).where(waiting).values(state=ApplicationState.REVOKED, ended_at=tx.now)
        )
    await _step(tx, row, state)
    tx.journal("pairing.ended", _subject(row.id), name=row.name, origin=row.origin, state=state.value)
    tx.publish(EventType.PAIRING_ENDED, _subject(row.id), name=row.name, state=state.value)


async def _step(tx: Transaction, row: sa.Row[Any], state: PairingState, **values: Any) -> None:
    if state not in PAIRING_STEPS[PairingState(row.state)]:
        raise _ended(PairingState(row.state))
    await tx.execute(sa.update(pairings).where(pairings.c.id == row.id).values(state=state, **values))


def _granted(asked: list[str], chosen: tuple[Scope, ...] | None) -> list[str]:
    if chosen is None:
        return asked
    beyond = [scope.value for scope in chosen if scope.value not in asked]
    if beyond:
        names = ", ".join(beyond)
        raise InvalidFieldsError(
            [
                FieldProblem(
                    "scopes",
                    Text(
                        f"names what was not asked for: {names}",
                        f"nomme ce qui n’a pas été demandé : {names}",
                    ),
                )
            ]
        )
    return [scope for scope in asked if scope in chosen]


def _subject(pairing_id: str) -> str:
    return f"pairing:{pairing_id}"


def _unknown(pairing_id: str) -> NotFoundError:
    return NotFoundError.of(Text("pairing", "appairage"), pairing_id)


def _ended(state: PairingState) -> PairingEndedError:
    return PairingEndedError(_ENDS[state], state=state.value)


_ENDS = {
    PairingState.PENDING: Text("It is not decided.", "Il n’est pas décidé."),
    PairingState.ALLOWED: Text("It was allowed already.", "Il a déjà été accepté."),
    PairingState.COMPLETED: Text("Its token is in use.", "Son jeton est déjà utilisé."),
    PairingState.DENIED: Text("The owner refused it.", "Le propriétaire l’a refusé."),
    PairingState.EXPIRED: Text("Its time is over.", "Son délai est écoulé."),
    PairingState.LOCKED: Text(
        "It was locked after too many wrong codes.", "Il a été verrouillé après trop de codes faux."
    ),
}
