"""Several hosts of one module used as one, so that keys held for the daemon are used on every core.

Two kinds of tokens live in a pool. A token **kept open** has a PIN source: any host may log in on it when first
needed, and again after a restart, and calls about it go to the least busy host. A token **logged in interactively**
(its PIN is not kept) has one home host: calls about it go there, and when that host is lost, so is the login. The
other hosts are logged in with the same PIN while it is there, so that several signatures are made at once; what such a
helper cannot do is done at home.

A host sees tokens made by another process only after it has initialised its module anew, which loses its logins. It
does so by itself when a token is not found, but never while it is the home of an interactive login.

What changes a token goes to one host a token, its writer: two SoftHSM processes that write to one token at once may
each miss the other's objects from then on. A host that does not find an object asks nobody, but the pool asks the
writer, who knows them all.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

import structlog

from cardd_pkcs11 import protocol
from cardd_pkcs11.client import TokenHost
from cardd_pkcs11.errors import (
    Ckr,
    NotLoggedInError,
    ObjectNotFoundError,
    PinIncorrectError,
    PinLockedError,
    TokenError,
    TokenErrorCode,
    TokenNotFoundError,
    TokenQuarantinedError,
    TokenRemovedError,
)
from cardd_pkcs11.operations import Observer, PinSource, PoolCounters, TokenPool
from cardd_pkcs11.policy import Deadlines
from cardd_pkcs11.profiles import ModuleProfile
from cardd_pkcs11.tasks import together
from cardd_pkcs11.types import TokenInfo, TokenSerial

T = TypeVar("T")

#: Calls that change what is on a token, or must see the last change.
_AT_THE_WRITER = (
    protocol.GenerateKeyPair,
    protocol.StoreCertificate,
    protocol.StoreData,
    protocol.ReadData,
    protocol.Destroy,
)
#: Calls that write into the module's store; a login notes wrong PINs there.
_CHANGES: frozenset[type] = frozenset(
    {
        protocol.InitToken,
        protocol.InitPin,
        protocol.Login,
        protocol.ChangePin,
        protocol.Unblock,
        protocol.GenerateKeyPair,
        protocol.StoreCertificate,
        protocol.StoreData,
        protocol.Destroy,
    }
)
#: Calls that use a private key.
_USES = (protocol.Sign, protocol.Decrypt)
#: Calls after which only the home, which carries them out, knows whether a login still stands.
_PIN_CHANGES = (protocol.ChangePin, protocol.InitPin, protocol.Unblock)
#: What a helper says where its login does not stand any more, before it has done anything.
_OF_NO_HELP = (NotLoggedInError, ObjectNotFoundError, TokenNotFoundError, TokenRemovedError)

#: Seconds between attempts at a token that another process is writing to.
_WHILE_WRITTEN = (0.01, 0.03, 0.1, 0.2)

#: How often one call logs in on a host where its login keeps getting lost to a fresh slot list.
_LOGIN_ATTEMPTS = 3

_log = structlog.get_logger("cardd_pkcs11.pool")


class _Home(NamedTuple):
    """Where an interactive login is held, and in which life of that host."""

    host: TokenHost
    generation: int

    @property
    def alive(self) -> bool:
        return self.host.running and self.host.generation == self.generation


def _unobserved(_call: protocol.Call[Any], _seconds: float, _error: TokenErrorCode | None) -> None:
    """Take no notice."""


class _Gate:
    """Lets many through while it is open; closing waits for those inside, and one closes it at a time."""

    def __init__(self) -> None:
        self._inside = 0
        self._changed = asyncio.Condition()
        self._is_closed = False

    @asynccontextmanager
    async def passing(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_closed)
            self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            async with self._changed:
                self._changed.notify_all()

    @asynccontextmanager
    async def closed(self) -> AsyncIterator[None]:
        async with self._changed:
            await self._changed.wait_for(lambda: not self._is_closed)
            self._is_closed = True
        try:
            async with self._changed:
                await self._changed.wait_for(lambda: not self._inside)
            yield
        finally:
            self._is_closed = False
            async with self._changed:
                self._changed.notify_all()


class TokenHostPool(TokenPool):
    """Hosts of one module. Close it when done; hosts are started when first needed."""

    def __init__(
        self,
        profile: ModuleProfile,
        size: int,
        environment: Mapping[str, str],
        *,
        module_path: Path | None = None,
        deadlines: Deadlines | None = None,
        serial_seed: str | None = None,
    ) -> None:
        """Make a pool; `serial_seed` is what serials are made from where the module gives none of its own."""
        self.profile = profile
        count = max(1, min(size, profile.max_processes))
        self._hosts = tuple(
            TokenHost(
                profile, environment, module_path=module_path, deadlines=deadlines, serial_seed=serial_seed
            )
            for _ in range(count)
        )
        self._pin_sources: dict[TokenSerial, PinSource] = {}
        self._refused_pins: set[TokenSerial] = set()
        self._homes: dict[TokenSerial, _Home] = {}
        self._helpers: dict[TokenSerial, list[_Home]] = {}
        self._known: dict[TokenSerial, set[TokenHost]] = {}
        self._writers: dict[TokenSerial, int] = {}
        self._closed_off: set[TokenSerial] = set()
        self._uses: Counter[TokenSerial] = Counter()
        self._changes = _Gate()
        #: Told of every call: its kind, how long it took in seconds, and the code of its error, if it failed.
        self._observer: Observer = _unobserved
        #: Hosts that know a token's PIN as it was before its last change.
        self._behind: dict[TokenSerial, set[TokenHost]] = {}

    @property
    def hosts(self) -> tuple[TokenHost, ...]:
        """The hosts, for diagnosis."""
        return self._hosts

    @property
    def counters(self) -> PoolCounters:
        """The sum over all hosts."""
        each = [host.counters for host in self._hosts]
        return PoolCounters(
            hosts=len(self._hosts),
            running=sum(host.running for host in self._hosts),
            calls=sum(one.calls for one in each),
            restarts=sum(one.restarts for one in each),
            busy=sum(one.busy for one in each),
        )

    async def start(self) -> None:
        """Start every host (see `TokenPool`)."""
        await together(host.start() for host in self._hosts)

    async def close(self) -> None:
        """Let every host leave (see `TokenPool`)."""
        await together(host.close() for host in self._hosts)

    def knows(self, serial: TokenSerial) -> bool:
        """Tell whether a host has shown this token."""
        return serial in self._known

    def profile_of(self, serial: TokenSerial) -> ModuleProfile:  # noqa: ARG002 - the module is the only one
        """Return the module's profile (see `TokenPool`): every token of the pool is the module's."""
        return self.profile

    def keep_open(self, serial: TokenSerial, pin_source: PinSource) -> None:
        """Keep a token open (see `TokenPool`)."""
        self._pin_sources[serial] = pin_source
        self._refused_pins.discard(serial)

    def close_off(self, serial: TokenSerial) -> None:
        """Refuse calls about a token (see `TokenPool`)."""
        self._closed_off.add(serial)

    def open_up(self, serial: TokenSerial) -> None:
        """Carry out calls about a token again (see `TokenPool`)."""
        self._closed_off.discard(serial)

    def uses(self, serial: TokenSerial) -> int:
        """Return how often keys of a token were used (see `TokenPool`)."""
        return self._uses[serial]

    @property
    def counters_by_module(self) -> Mapping[str, PoolCounters]:
        """The sums over all hosts of the one module (see `TokenPool`)."""
        return {self.profile.name: self.counters}

    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every call that ends (see `TokenPool`)."""
        self._observer = observer

    @asynccontextmanager
    async def unchanging(self) -> AsyncIterator[None]:
        """Let nothing be written on any token while the context is open: what would write waits."""
        async with self._changes.closed():
            yield

    async def let_go(self, serial: TokenSerial) -> None:
        """Stop keeping a token open (see `TokenPool`)."""
        self._pin_sources.pop(serial, None)
        await together(host.logout(serial) for host in self._hosts if host.running)

    async def list_tokens(
        self, *, refresh: bool = False, deadline: float | None = None
    ) -> tuple[TokenInfo, ...]:
        """Read every token (see `TokenPool`)."""
        asked = [host for host in self._hosts if host.running] or [self._hosts[0]]
        if refresh:
            await together(self._refresh(host) for host in asked)
        answers = await together(host.call(protocol.ListTokens(), deadline=deadline) for host in asked)
        seen: dict[TokenSerial, TokenInfo] = {}
        for host, tokens in zip(asked, answers, strict=True):
            for token in tokens:
                self._learn(token.serial, host)
                earlier = seen.get(token.serial)
                if earlier is None or token.logged_in:
                    seen[token.serial] = token
        return tuple(seen.values())

    async def call(self, call: protocol.Call[T], *, deadline: float | None = None) -> T:
        """Carry out one call on the host where it belongs.

        Raises:
            TokenQuarantinedError: its token is closed off.
        """
        if call.about in self._closed_off:
            raise TokenQuarantinedError(f"the token {call.about} is in quarantine")
        began, outcome = time.monotonic(), None
        try:
            if type(call) in _CHANGES:
                async with self._changes.passing():
                    return await self._routed(call, deadline)
            return await self._routed(call, deadline)
        except TokenError as error:
            outcome = error.code
            raise
        finally:
            self._observer(call, time.monotonic() - began, outcome)

    async def _routed(self, call: protocol.Call[T], deadline: float | None) -> T:
        if isinstance(call, protocol.Login):
            return cast("T", await self._interactive_login(call, deadline))
        if isinstance(call, protocol.Logout | protocol.Forget):
            return cast("T", await self._everywhere(call, deadline))
        if isinstance(call, protocol.InitToken):
            return cast("T", await self._init_token(call, deadline))
        if call.about is None:
            return await self._by_load()[0].call(call, deadline=deadline)
        return await self._about_token(call, call.about, deadline)

    async def _init_token(self, call: protocol.InitToken, deadline: float | None) -> TokenInfo:
        host = self._hosts[0]
        made = await host.call(call, deadline=deadline)
        self._learn(made.serial, host)
        return made

    async def _about_token(self, call: protocol.Call[T], serial: TokenSerial, deadline: float | None) -> T:
        if isinstance(call, _USES):
            self._uses[serial] += 1
        home = self._homes.get(serial)
        if home is not None and serial not in self._pin_sources:
            if not home.alive:
                del self._homes[serial]
                await self._dismiss_helpers(serial)
                raise NotLoggedInError("the login was lost with its token host")
            return await self._at_home(call, serial, home, deadline)

        def use(host: TokenHost) -> Awaitable[T]:
            return self._logged_in_call(host, call, serial, deadline)

        if isinstance(call, _PIN_CHANGES):
            # Where logins come first: the other hosts have to read the token anew before one.
            return await self._on_a_host_that_knows(serial, list(self._hosts), use)
        writer_first = self._writer_first(serial)
        if isinstance(call, _AT_THE_WRITER):
            return await self._on_a_host_that_knows(serial, writer_first, use)
        try:
            return await self._on_a_host_that_knows(serial, self._by_load(), use)
        except ObjectNotFoundError:
            return await self._on_a_host_that_knows(serial, writer_first, use)

    async def _at_home(
        self, call: protocol.Call[T], serial: TokenSerial, home: _Home, deadline: float | None
    ) -> T:
        """Carry out a call about a token that is logged in interactively; uses of its keys also at a helper."""
        if isinstance(call, _PIN_CHANGES):
            await self._dismiss_helpers(serial)
        is_use: bool = isinstance(call, _USES)
        if is_use:
            able = [home, *(helper for helper in self._helpers.get(serial, ()) if helper.alive)]
            least_busy = min(able, key=lambda each: each.host.counters.busy)
            if least_busy is not home:
                try:
                    return cast("T", await least_busy.host.call(call, deadline=deadline))
                except _OF_NO_HELP:
                    self._helpers[serial] = [
                        each for each in self._helpers.get(serial, ()) if each is not least_busy
                    ]
        return await self._noting_pin_changes(home.host, call, serial, deadline)

    async def _noting_pin_changes(
        self, host: TokenHost, call: protocol.Call[T], serial: TokenSerial, deadline: float | None
    ) -> T:
        """Carry out a call; after a change of PIN, the other hosts know the one before until they read the token anew.

        SoftHSM keeps what a PIN opens in the memory of each process, from when it first saw the token.
        """
        result = await host.call(call, deadline=deadline)
        if isinstance(call, _PIN_CHANGES):
            self._behind[serial] = {other for other in self._hosts if other is not host and other.running}
        return result

    async def _caught_up(self, host: TokenHost, serial: TokenSerial) -> bool:
        """Have a host know the token's present PIN; False where its module cannot be initialised anew now."""
        if host not in self._behind.get(serial, ()):
            return True
        return await self._refresh(host)

    async def _on_a_host_that_knows(
        self, serial: TokenSerial, candidates: list[TokenHost], use: Callable[[TokenHost], Awaitable[T]]
    ) -> T:
        """Use the first host that finds the token; one that does not looks again with a fresh slot list if it may."""
        for position, host in enumerate(candidates):
            try:
                return await self._found(serial, host, use)
            except TokenNotFoundError:
                self._known.get(serial, set()).discard(host)
            if not await self._refresh(host):
                continue
            try:
                return await self._found(serial, host, use)
            except TokenNotFoundError:
                if not self._known.get(serial, set()).intersection(candidates[position + 1 :]):
                    raise
        raise TokenNotFoundError(f"no token {serial} is present")

    async def _found(
        self, serial: TokenSerial, host: TokenHost, use: Callable[[TokenHost], Awaitable[T]]
    ) -> T:
        result = await use(host)
        self._learn(serial, host)
        return result

    async def _logged_in_call(
        self, host: TokenHost, call: protocol.Call[T], serial: TokenSerial, deadline: float | None
    ) -> T:
        """Carry out a call; where it needs a login that the daemon keeps open, log in and carry it out then.

        `NotLoggedInError` says that nothing was done, so that this repeats nothing. The login may be lost again
        before the call's turn, when another call had the host initialise its module anew. A software token that
        seems gone is one that another process was just writing to: what changes nothing is then asked again.
        """
        if serial not in self._pin_sources:
            return await self._noting_pin_changes(host, call, serial, deadline)
        if isinstance(call, protocol.ListObjects):
            await self._kept_login(host, serial)
        for _ in range(_LOGIN_ATTEMPTS):
            try:
                return await self._noting_pin_changes(host, call, serial, deadline)
            except NotLoggedInError:
                await self._kept_login(host, serial)
            except TokenRemovedError:
                if isinstance(call, _AT_THE_WRITER):
                    raise
        return await self._noting_pin_changes(host, call, serial, deadline)

    async def _kept_login(self, host: TokenHost, serial: TokenSerial) -> None:
        if serial in self._refused_pins:
            raise NotLoggedInError("the PIN kept for this token was refused; it is not tried again")
        await self._caught_up(host, serial)
        pin = await asyncio.to_thread(self._pin_sources[serial])
        login = protocol.Login(serial=serial, pin=pin, reuse=True)
        try:
            await self._patiently(lambda: host.call(login))
        except (PinIncorrectError, PinLockedError):
            self._refused_pins.add(serial)
            _log.error("token_pool.kept_pin_refused", module=self.profile.name, serial=serial)
            raise

    async def _interactive_login(self, call: protocol.Login, deadline: float | None) -> None:
        home = self._homes.get(call.serial)
        # In the same order always: logins gather on the first hosts, the others stay free to look again.
        candidates = [home.host] if home is not None and home.alive else list(self._hosts)
        await self._on_a_host_that_knows(
            call.serial, candidates, lambda host: self._login_at_home(host, call, deadline)
        )

    async def _login_at_home(self, host: TokenHost, call: protocol.Login, deadline: float | None) -> None:
        """Log in, and claim the host as the token's home before it could initialise its module anew."""
        await host.start()
        await self._caught_up(host, call.serial)
        home = self._homes[call.serial] = _Home(host, host.generation)
        try:
            await self._patiently(lambda: host.call(call, deadline=deadline))
        except BaseException:
            if self._homes.get(call.serial) is home:
                del self._homes[call.serial]
                await self._dismiss_helpers(call.serial)
            raise
        self._homes[call.serial] = _Home(host, host.generation)
        await self._call_helpers(call, host)

    async def _call_helpers(self, call: protocol.Login, home: TokenHost) -> None:
        """Log in on the other hosts too with a PIN that was just found right; one that cannot is left out."""
        await self._dismiss_helpers(call.serial)
        others = [host for host in self._hosts if host is not home and host.running]
        for host in others:
            if not await self._caught_up(host, call.serial):
                continue
            try:
                await host.call(call)
            except TokenError as error:
                _log.debug("token_pool.no_helper", module=self.profile.name, pid=host.pid, why=error.code)
            else:
                self._helpers.setdefault(call.serial, []).append(_Home(host, host.generation))
        if others:
            await self._settle_at_home(call, home)

    async def _settle_at_home(self, call: protocol.Login, home: TokenHost) -> None:
        """See to it that the home's login stands: a login elsewhere writes to a software token."""
        try:
            await home.call(protocol.ListObjects(serial=call.serial))
        except TokenRemovedError:
            await self._patiently(lambda: home.call(call))

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Try again what found a software token half written: each login writes to it, in whichever process.

        A token that counts wrong PINs by itself is left alone.
        """
        for pause in _WHILE_WRITTEN:
            try:
                return await attempt()
            except TokenRemovedError as error:
                if error.ckr is not Ckr.GENERAL_ERROR or self.profile.quirks.counts_pin_tries:
                    raise
                await asyncio.sleep(pause)
        return await attempt()

    async def _dismiss_helpers(self, serial: TokenSerial) -> None:
        """Log a token out everywhere but at its home."""
        helpers = [each for each in self._helpers.pop(serial, ()) if each.alive]
        await together(each.host.call(protocol.Logout(serial=serial)) for each in helpers)

    async def _everywhere(self, call: protocol.Logout | protocol.Forget, deadline: float | None) -> None:
        self._homes.pop(call.serial, None)
        self._helpers.pop(call.serial, None)
        await together(host.call(call, deadline=deadline) for host in self._hosts if host.running)

    async def _refresh(self, host: TokenHost) -> bool:
        """Initialise a host's module anew unless it is the home of an interactive login; tell whether it was."""
        if any(home.host is host and home.alive for home in self._homes.values()):
            return False
        for serial, helpers in self._helpers.items():
            self._helpers[serial] = [each for each in helpers if each.host is not host]
        await host.call(protocol.Refresh())
        for behind in self._behind.values():
            behind.discard(host)
        return True

    def _learn(self, serial: TokenSerial, host: TokenHost) -> None:
        self._known.setdefault(serial, set()).add(host)

    def _writer_first(self, serial: TokenSerial) -> list[TokenHost]:
        """Return the hosts, the token's writer first: the same one for as long as the pool lives."""
        position = self._writers.setdefault(serial, len(self._writers) % len(self._hosts))
        return [*self._hosts[position:], *self._hosts[:position]]

    def _by_load(self) -> list[TokenHost]:
        return sorted(self._hosts, key=lambda host: host.counters.busy)
