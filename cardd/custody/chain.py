"""Copies are noticed: a counter that each token and this registry advance together.

On the token it is a private data object, here a row. Both advance at each start, and again after a number of uses,
each time to a value nobody can foretell. A token that shows another value than the registry's was put back from an
earlier copy, or has a copy that was used with this registry: it goes into quarantine until its owner decides. So does
a token that the device at hand does not open: its store was copied to another TPM, or the TPM was cleared.

An advance is announced in the row, then written on the token, then confirmed in the row. A crash in between leaves
the token with the old value or the announced one, and both are right. A state that is restored as a whole brings
tokens and rows of one moment, which agree. A copy that never meets this registry is not noticed by it.
"""

import asyncio
import hashlib
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog

from cardd.custody.errors import (
    TokenAbsentFaultError,
    TokenQuarantinedFaultError,
    token_errors_translated,
)
from cardd.custody.registry import spki_hash
from cardd.custody.tokens import TokenPurpose, TokenRecord
from cardd.custody.types import Decision, Divergence, Quarantine
from cardd.errors import ConflictError
from cardd.events import EventType
from cardd.store import Store, StoreUnavailableError, Transaction
from cardd.store.tables import certificates, key_registry, token_chains, tokens
from cardd.text import Text
from cardd_pkcs11.errors import ObjectNotFoundError, TokenElsewhereError
from cardd_pkcs11.operations import TokenPool
from cardd_pkcs11.types import TokenSerial

#: CKA_APPLICATION and CKA_LABEL of the object.
APPLICATION = "cardd"
LABEL = "cardd chain"

#: Uses of a token's keys after which its chain advances again.
USES_BEFORE_ADVANCE = 100

_RANDOM_BYTES = 16
_TURN_SECONDS = 30.0
_log = structlog.get_logger(__name__)


class NotQuarantinedError(ConflictError):
    """There is nothing to decide about this token."""

    code = "token_not_quarantined"
    title = Text("The token is not in quarantine", "Le jeton n’est pas en quarantaine")
    default_advice = Text(
        "`cardd tokens` shows the tokens in quarantine.", "« cardd tokens » montre les jetons en quarantaine."
    )


class Link(msgspec.Struct, frozen=True):
    """One value of a chain, as it is on the token; `hash` is hexadecimal SHA-256."""

    counter: int
    hash: str

    def next(self, leap: int = 0) -> "Link":
        """Return a value that nobody can foretell, its counter `leap` further than the next."""
        fresh = secrets.token_bytes(_RANDOM_BYTES)
        content = f"{self.counter}:{self.hash}:".encode() + fresh
        return Link(self.counter + 1 + leap, hashlib.sha256(content).hexdigest())


_FIRST = Link(0, "")


_QUARANTINED_HOLDER = (
    sa.select(token_chains.c.token_serial)
    .join(key_registry, key_registry.c.token_serial == token_chains.c.token_serial)
    .where(key_registry.c.spki_sha256 == sa.bindparam("name"), token_chains.c.quarantined_at.is_not(None))
)


class TokenChains:
    """The chains of the daemon's own tokens."""

    def __init__(self, store: Store, pool: TokenPool, *, uses: int = USES_BEFORE_ADVANCE) -> None:
        self._store = store
        self._pool = pool
        self._uses_before_advance = uses
        self._advanced_at: dict[TokenSerial, int] = {}
        self._closed_pki: set[TokenSerial] = set()
        #: A token and its row are compared and advanced by one task at a time, or each would take the other for a copy.
        self._turns: defaultdict[TokenSerial, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def start(self, records: tuple[TokenRecord, ...], *, leap: int = 0) -> None:
        """At start: check every token's chain and advance it; what diverged, now or before, is closed off.

        After a restore from a backup the counters `leap`: the state that was lost had advanced them since.
        """
        for record in records:
            async with self._turns[record.serial]:
                await self._check(record, advance=True, leap=leap)

    async def advance_used(self, records: tuple[TokenRecord, ...]) -> None:
        """Check and advance the chains of tokens whose keys were used often since, and of new ones."""
        for record in records:
            last = self._advanced_at.get(record.serial)
            if last is None or self._pool.uses(record.serial) - last >= self._uses_before_advance:
                await self.check(record, advance=True)

    async def check(self, record: TokenRecord, *, advance: bool = False) -> Divergence | None:
        """Compare a token with its row; a divergence puts it in quarantine. An absent token tells nothing.

        Raises:
            TokenFaultError: the token cannot be read or written.
        """
        async with self._turn(record.serial):
            return await self._check(record, advance=advance)

    async def noticed_elsewhere(self, serial: TokenSerial) -> None:
        """Put a token of another machine's, of which a copy is here, into quarantine; nothing where it is there."""
        async with self._turn(serial):
            row = await self._row(serial)
            if row is not None and row.quarantined_at is not None:
                return
            async with self._store.read() as connection:
                statement = sa.select(tokens.c.label).where(tokens.c.serial == serial)
                label = (await connection.execute(statement)).scalar_one()
            await self._note_quarantine(serial, label, Divergence.ELSEWHERE)

    async def _check(self, record: TokenRecord, *, advance: bool, leap: int = 0) -> Divergence | None:
        row = await self._row(record.serial)
        if row is not None and row.quarantined_at is not None:
            self._close_off(record)
            return Divergence(row.reason)
        try:
            with token_errors_translated():
                shown, divergence = await self._compared(record.serial, row)
                if divergence is not None:
                    await self._pool.list_tokens(refresh=True)
                    shown, divergence = await self._compared(record.serial, row)
                if divergence is None and advance:
                    await self._advance(record.serial, shown or _FIRST, leap)
        except TokenAbsentFaultError:
            _log.error("custody.chain_not_checked", token=record.serial, why="token_absent")
            return None
        if divergence is not None:
            await self._quarantine(record, divergence)
        return divergence

    async def release(self, record: TokenRecord) -> None:
        """Trust a token in quarantine again: its chain goes on from a new value.

        Raises:
            NotQuarantinedError: it is not in quarantine.
            TokenFaultError: the token cannot be read or written; it stays in quarantine.
        """
        async with self._turn(record.serial):
            await self._release(record)

    @asynccontextmanager
    async def _turn(self, serial: TokenSerial) -> AsyncIterator[None]:
        """Compare and advance one token alone, here and among the machines that share it."""
        async with (
            self._turns[serial],
            self._store.exclusively(f"token {serial}", wait=_TURN_SECONDS) as alone,
        ):
            if not alone:
                raise StoreUnavailableError(
                    Text(
                        f"Another machine has been comparing the token {serial} for {_TURN_SECONDS:.0f} s.",
                        f"Une autre machine compare le jeton {serial} depuis {_TURN_SECONDS:.0f} s.",
                    )
                )
            yield

    async def _release(self, record: TokenRecord) -> None:
        row = await self._quarantined(record.serial)
        self._pool.open_up(record.serial)
        try:
            with token_errors_translated():
                shown = await self._shown(record.serial) or _FIRST
                higher = max(shown.counter, row.counter, row.pending_counter or 0)
                await self._advance(record.serial, Link(higher, shown.hash))
        except BaseException:
            self._close_off(record)
            raise
        self._closed_pki.discard(record.serial)
        await self._decided(record.serial, Decision.RELEASE)

    async def require_quarantined(self, record: TokenRecord) -> None:
        """Raise `NotQuarantinedError` where there is nothing to decide."""
        await self._quarantined(record.serial)

    async def give_up(self, record: TokenRecord) -> None:
        """Note that everything on a token in quarantine was revoked; it stays closed off.

        Raises:
            NotQuarantinedError: it is not in quarantine.
        """
        await self._quarantined(record.serial)
        await self._decided(record.serial, Decision.REVOKE)

    async def admit(self, spki: bytes) -> None:
        """Raise `TokenQuarantinedFaultError` for a key that is not to be certified now.

        Nothing is certified for keys of a token in quarantine, and nothing at all while that of the CA keys is. Lists
        and OCSP responses go on, or no revocation would be seen any more.
        """
        if self._closed_pki:
            raise TokenQuarantinedFaultError(
                Text(
                    "A copy of the token with the CA keys was noticed; no certificate is issued.",
                    "Une copie du jeton des clés d’AC a été constatée ; aucun certificat n’est émis.",
                )
            )
        async with self._store.read() as connection:
            serial = (await connection.execute(_QUARANTINED_HOLDER, {"name": spki_hash(spki)})).scalar()
        if serial is not None:
            raise TokenQuarantinedFaultError(
                Text(
                    f"A copy of the token {serial} was noticed; its keys are not certified.",
                    f"Une copie du jeton {serial} a été constatée ; ses clés ne sont pas certifiées.",
                )
            )

    async def quarantines(self) -> tuple[Quarantine, ...]:
        """Return the tokens in quarantine with the certificates to be watched: theirs, neither revoked nor over."""
        table = certificates
        async with self._store.read() as connection:
            rows = (
                await connection.execute(
                    sa.select(token_chains).where(
                        token_chains.c.quarantined_at.is_not(None), token_chains.c.decision.is_(None)
                    )
                )
            ).all()
            if not rows:
                return ()
            watched = (
                await connection.execute(
                    sa.select(table.c.serial, table.c.token_serial)
                    .where(
                        table.c.token_serial.in_([row.token_serial for row in rows]),
                        table.c.revoked_at.is_(None),
                    )
                    .order_by(table.c.serial)
                )
            ).all()
        return tuple(
            Quarantine(
                token_serial=row.token_serial,
                since=row.quarantined_at,
                reason=Divergence(row.reason),
                certificates=tuple(each.serial for each in watched if each.token_serial == row.token_serial),
            )
            for row in rows
        )

    async def _advance(self, serial: TokenSerial, present: Link, leap: int = 0) -> None:
        following = present.next(leap)
        values = {
            "counter": present.counter,
            "hash": present.hash,
            "pending_counter": following.counter,
            "pending_hash": following.hash,
        }
        async with self._store.transaction() as tx:
            known = await tx.execute(
                sa.update(token_chains).where(token_chains.c.token_serial == serial).values(**values)
            )
            if known.rowcount == 0:
                await tx.execute(sa.insert(token_chains).values(token_serial=serial, **values))
        value = msgspec.json.encode(following)
        await self._pool.store_data(serial, APPLICATION, LABEL, value, private=True)
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.update(token_chains)
                .where(token_chains.c.token_serial == serial)
                .values(
                    counter=following.counter, hash=following.hash, pending_counter=None, pending_hash=None
                )
            )
        self._advanced_at[serial] = self._pool.uses(serial)

    async def _quarantine(self, record: TokenRecord, divergence: Divergence) -> None:
        self._close_off(record)
        await self._note_quarantine(record.serial, record.label, divergence)

    async def _note_quarantine(self, serial: TokenSerial, label: str, divergence: Divergence) -> None:
        async with self._store.transaction() as tx:
            changed = {
                "quarantined_at": tx.now,
                "reason": divergence.value,
                "decision": None,
                "decided_at": None,
            }
            known = await tx.execute(
                sa.update(token_chains).where(token_chains.c.token_serial == serial).values(**changed)
            )
            if known.rowcount == 0:
                first = {"token_serial": serial, "counter": 0, "hash": ""}
                await tx.execute(sa.insert(token_chains).values(**first, **changed))
            watched = await _watched(tx, serial)
            facts = {"reason": divergence.value, "label": label, "certificates": watched}
            tx.journal("token.quarantined", f"token:{serial}", **facts)
            tx.publish(EventType.KEY_COPY_NOTICED, f"token:{serial}", **facts)
        _log.error("custody.copy_noticed", token=serial, reason=divergence.value)

    async def _decided(self, serial: TokenSerial, decision: Decision) -> None:
        released = {"quarantined_at": None} if decision is Decision.RELEASE else {}
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.update(token_chains)
                .where(token_chains.c.token_serial == serial)
                .values(decision=decision.value, decided_at=tx.now, **released)
            )
            tx.journal("token.quarantine_decided", f"token:{serial}", decision=decision.value)

    def _close_off(self, record: TokenRecord) -> None:
        if record.purpose is TokenPurpose.PKI:
            self._closed_pki.add(record.serial)
        else:
            self._pool.close_off(record.serial)

    async def _quarantined(self, serial: TokenSerial) -> sa.Row[Any]:
        row = await self._row(serial)
        if row is None or row.quarantined_at is None or row.decision is not None:
            raise NotQuarantinedError(
                Text(
                    f"The token {serial} is not in quarantine.",
                    f"Le jeton {serial} n’est pas en quarantaine.",
                )
            )
        return row

    async def _row(self, serial: TokenSerial) -> sa.Row[Any] | None:
        statement = sa.select(token_chains).where(token_chains.c.token_serial == serial)
        async with self._store.read() as connection:
            return (await connection.execute(statement)).first()

    async def _compared(
        self, serial: TokenSerial, row: sa.Row[Any] | None
    ) -> tuple[Link | None, Divergence | None]:
        """Return the value on the token, and how it disagrees with the row."""
        try:
            shown = await self._shown(serial)
        except TokenElsewhereError:
            return None, Divergence.OTHER_DEVICE
        return shown, _divergence(row, shown)

    async def _shown(self, serial: TokenSerial) -> Link | None:
        """Read the value on the token; None where there is none, or where it is not one of ours."""
        try:
            return msgspec.json.decode(await self._pool.read_data(serial, APPLICATION, LABEL), type=Link)
        except (ObjectNotFoundError, msgspec.MsgspecError):
            return None


def _divergence(row: sa.Row[Any] | None, shown: Link | None) -> Divergence | None:
    if row is None:
        return None if shown is None else Divergence.REGISTRY_OLDER
    known = Link(row.counter, row.hash)
    announced = None if row.pending_counter is None else Link(row.pending_counter, row.pending_hash)
    if (shown or _FIRST) in (known, announced):
        return None
    if shown is None:
        return Divergence.OBJECT_MISSING
    newest = announced or known
    if shown.counter < known.counter:
        return Divergence.ROLLED_BACK
    return Divergence.REGISTRY_OLDER if shown.counter > newest.counter else Divergence.FORKED


async def _watched(tx: Transaction, serial: TokenSerial) -> list[str]:
    table = certificates
    statement = sa.select(table.c.serial).where(table.c.token_serial == serial, table.c.revoked_at.is_(None))
    return list((await tx.execute(statement.order_by(table.c.serial))).scalars())
