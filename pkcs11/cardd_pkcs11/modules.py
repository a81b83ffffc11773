"""Several modules used as one: each call goes to the pool of the module that holds its token.

The first pool is the one that must work. A module of another that does not answer, such as a TPM that is gone, costs
the daemon its tokens and nothing else.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

import structlog

from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import TokenError, TokenNotFoundError
from cardd_pkcs11.operations import Observer, PinSource, PoolCounters, TokenPool
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.profiles import ModuleProfile
from cardd_pkcs11.tasks import together
from cardd_pkcs11.types import TokenInfo, TokenSerial

T = TypeVar("T")

_log = structlog.get_logger(__name__)


class TokenModules(TokenPool):
    """Pools of different modules, whose tokens' serials differ."""

    def __init__(self, pools: Sequence[TokenHostPool]) -> None:
        self._pools = tuple(pools)
        self._first = self._pools[0]

    @property
    def counters(self) -> PoolCounters:
        """The sum over all hosts of all modules."""
        each = [pool.counters for pool in self._pools]
        names = PoolCounters.__struct_fields__
        return PoolCounters(**{name: sum(getattr(one, name) for one in each) for name in names})

    @property
    def counters_by_module(self) -> Mapping[str, PoolCounters]:
        """The sums over the hosts of each module (see `TokenPool`)."""
        return {pool.profile.name: pool.counters for pool in self._pools}

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of the calls of every module (see `TokenPool`)."""
        for pool in self._pools:
            pool.observe(observer)

    @asynccontextmanager
    async def unchanging(self) -> AsyncIterator[None]:
        """Let nothing be written in any module (see `TokenPool`)."""
        async with AsyncExitStack() as stack:
            for pool in self._pools:
                await stack.enter_async_context(pool.unchanging())
            yield

    async def start(self) -> None:
        """Start every host of the first module; the others' are started when first needed."""
        await self._first.start()

    async def close(self) -> None:
        """Let every host of every module leave."""
        await together(pool.close() for pool in self._pools)

    def profile_of(self, serial: TokenSerial) -> ModuleProfile:
        """Return the profile of the module that has shown a token (see `TokenPool`)."""
        for pool in self._pools:
            if pool.knows(serial):
                return pool.profile
        raise TokenNotFoundError(f"no token {serial} is present")

    def keep_open(self, serial: TokenSerial, pin_source: PinSource) -> None:
        """Keep a token open in whichever module it is."""
        for pool in self._pools:
            pool.keep_open(serial, pin_source)

    def close_off(self, serial: TokenSerial) -> None:
        """Refuse calls about a token in whichever module it is."""
        for pool in self._pools:
            pool.close_off(serial)

    def open_up(self, serial: TokenSerial) -> None:
        """Carry out calls about a token again."""
        for pool in self._pools:
            pool.open_up(serial)

    def uses(self, serial: TokenSerial) -> int:
        """Return how often keys of a token were used."""
        return sum(pool.uses(serial) for pool in self._pools)

    async def let_go(self, serial: TokenSerial) -> None:
        """Stop keeping a token open."""
        await together(pool.let_go(serial) for pool in self._pools)

    async def list_tokens(
        self, *, refresh: bool = False, deadline: float | None = None
    ) -> tuple[TokenInfo, ...]:
        """Read every token of every module that answers."""
        found = [*await self._first.list_tokens(refresh=refresh, deadline=deadline)]
        for pool in self._pools[1:]:
            try:
                found += await pool.list_tokens(refresh=refresh, deadline=deadline)
            except TokenError as error:
                _log.error("token_modules.no_answer", module=pool.profile.name, why=str(error))
        return tuple(found)

    async def call(self, call: protocol.Call[T], *, deadline: float | None = None) -> T:
        """Carry out one call in the module that holds its token; what is about no token, in the first."""
        if call.about is None:
            return await self._first.call(call, deadline=deadline)
        return await (await self._holder(call.about)).call(call, deadline=deadline)

    async def _holder(self, serial: TokenSerial) -> TokenHostPool:
        """Return the pool that has shown a token, after a look into all where none has."""
        for looked in (False, True):
            for pool in self._pools:
                if pool.knows(serial):
                    return pool
            if not looked:
                await self.list_tokens()
        return self._first
