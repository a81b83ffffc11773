"""`Idempotency-Key`: a POST sent twice has one effect, and its repetition gets the first answer.

The key is committed with the effect (`Transaction.answer`), so that a daemon killed before it answered
still knows on the next start what the request made, and renders the answer anew. Requests are told
apart by a keyed hash: their bodies may hold short secrets that a plain hash would give away.
"""

import asyncio
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import sqlalchemy as sa
import structlog
from aiohttp import web

from cardd.clock import Clock
from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.store import (
    IdempotencyKeyReusedError,
    RequestKey,
    Store,
    StoreUnavailableError,
    current_request_key,
)
from cardd.store.tables import idempotency as table
from cardd.text import Text
from cardd_webservice.operations import Keeping

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
#: `kind` of a request whose effect was not bound to its key by a transaction.
_UNBOUND = "answer"
_LONGEST_KEY = 255

_log = structlog.get_logger(__name__)


class StoredAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer as it went out."""

    status: int
    media_type: str
    body: bytes
    headers: Mapping[str, str] = {}


Perform = Callable[[], Awaitable[StoredAnswer]]
#: Renders the answer of a request again from what it made: its kind and its identifier.
Render = Callable[[str, str], Awaitable[StoredAnswer]]


class IdempotencyPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how many answers are kept."""

    kept_for: timedelta = timedelta(days=7)
    in_memory: int = 1000


class IdempotencyKeeper:
    """Remembers which requests were performed, and what they were answered."""

    def __init__(
        self, store: Store, clock: Clock, secret: bytes, policy: IdempotencyPolicy | None = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._secret = secret
        self._policy = policy or IdempotencyPolicy()
        self._flights: dict[tuple[str, str], tuple[asyncio.Lock, int]] = {}
        self._memory: OrderedDict[tuple[str, str], tuple[str, StoredAnswer]] = OrderedDict()

    def request_key(self, request: web.Request, caller: str, body: bytes) -> RequestKey | None:
        """Return the request's key, if it has one; raises `InvalidFieldsError` for a malformed one."""
        given = request.headers.getall(HEADER, [])
        if not given:
            return None
        key = given[0]
        visible = all("!" <= character <= "~" for character in key)
        if len(given) > 1 or not 1 <= len(key) <= _LONGEST_KEY or not visible:
            problem = Text(
                f"must be given once and hold 1 to {_LONGEST_KEY} visible ASCII characters",
                f"doit être donnée une fois et compter de 1 à {_LONGEST_KEY} caractères ASCII visibles",
            )
            raise InvalidFieldsError([FieldProblem(HEADER, problem)])
        described = f"{request.method}\n{request.path}\n".encode() + body
        return RequestKey(
            caller=self._store.own_name(caller),
            key=key,
            request_sha256=hmac.digest(self._secret, described, hashlib.sha256).hex(),
        )

    async def answer(
        self, key: RequestKey, keeping: Keeping, perform: Perform, render: Render
    ) -> tuple[StoredAnswer, bool]:
        """Return the request's answer, and whether it is a repetition of an earlier one.

        Raises `IdempotencyKeyReusedError` where the key came before with another request.
        """
        async with self._flight(key):
            known = await self._known(key, render)
            if known is not None:
                return known, True
            bound = current_request_key.set(key if keeping is Keeping.STORE else None)
            try:
                answer = await perform()
            finally:
                current_request_key.reset(bound)
            if keeping is Keeping.STORE:
                await self._keep(key, answer)
            else:
                self._remember(key, answer)
            return answer, False

    async def forget_old(self) -> None:
        """Drop the answers that are older than the policy keeps them."""
        before = self._clock.now() - self._policy.kept_for
        async with self._store.transaction() as tx:
            await tx.execute(sa.delete(table).where(table.c.created_at < before))

    @asynccontextmanager
    async def _flight(self, key: RequestKey) -> AsyncIterator[None]:
        """Let one request of a key through at a time."""
        name = (key.caller, key.key)
        lock, waiting = self._flights.get(name, (asyncio.Lock(), 0))
        self._flights[name] = (lock, waiting + 1)
        try:
            async with lock:
                yield
        finally:
            lock, waiting = self._flights.pop(name)
            if waiting > 1:
                self._flights[name] = (lock, waiting - 1)

    async def _known(self, key: RequestKey, render: Render) -> StoredAnswer | None:
        remembered = self._memory.get((key.caller, key.key))
        if remembered is not None:
            request_sha256, answer = remembered
            _check_same(key, request_sha256)
            return answer
        statement = sa.select(table).where(table.c.caller == key.caller, table.c.key == key.key)
        async with self._store.read() as connection:
            row = (await connection.execute(statement)).first()
        if row is None:
            return None
        _check_same(key, row.request_sha256)
        if row.status is not None:
            return StoredAnswer(status=row.status, media_type=row.content_type or "", body=row.body or b"")
        rendered = await render(row.kind, row.subject)
        await self._keep(key, rendered)
        return rendered

    async def _keep(self, key: RequestKey, answer: StoredAnswer) -> None:
        """Store the answer; the effect is committed, so that a failure to do so is not the caller's."""
        given = {"status": answer.status, "content_type": answer.media_type, "body": answer.body}
        ours = (table.c.caller == key.caller, table.c.key == key.key)
        try:
            async with self._store.transaction() as tx:
                updated = await tx.execute(sa.update(table).where(*ours).values(given))
                if updated.rowcount == 0:
                    await tx.execute(sa.insert(table).values(_row(key) | given | {"created_at": tx.now}))
        except StoreUnavailableError:
            _log.warning("idempotent_answer_not_stored", exc_info=True)

    def _remember(self, key: RequestKey, answer: StoredAnswer) -> None:
        self._memory[(key.caller, key.key)] = (key.request_sha256, answer)
        while len(self._memory) > self._policy.in_memory:
            self._memory.popitem(last=False)


def _row(key: RequestKey) -> dict[str, Any]:
    return {
        "caller": key.caller,
        "key": key.key,
        "request_sha256": key.request_sha256,
        "kind": _UNBOUND,
        "subject": "",
    }


def _check_same(key: RequestKey, request_sha256: str) -> None:
    if not hmac.compare_digest(key.request_sha256, request_sha256):
        raise IdempotencyKeyReusedError(
            Text(
                "This Idempotency-Key came before with another method, path or body.",
                "Cette clé d’idempotence a déjà accompagné une autre méthode, un autre chemin ou un autre contenu.",
            )
        )
