"""One token host over a real SoftHSM: its process, its losses, its deadlines."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from cardd_pkcs11 import verification
from cardd_pkcs11.client import TokenHost
from cardd_pkcs11.errors import DeadlineExceededError, HostLostError, ModuleMissingError, NotLoggedInError
from cardd_pkcs11.policy import Deadlines
from cardd_pkcs11.types import KeyAlgorithm, KeyId, SignMechanism, Spki, TokenSerial
from tests.support.softhsm import (
    KEY_ID,
    SIGNING,
    SO_PIN,
    USER_PIN,
    softhsm_environment,
    softhsm_profile,
    store_held,
    until,
    waits_at_a_lock,
)

#: No host has opened it; who would has to read the records of the store.
NOT_OPENED = TokenSerial("not opened yet")


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[TokenHost]:
    host = TokenHost(softhsm_profile(), softhsm_environment(tmp_path))
    yield host
    await host.close()


def _status(host: TokenHost) -> dict[str, str]:
    lines = Path(f"/proc/{host.pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


async def test_the_host_is_one_thread_that_dumps_no_core_and_ignores_ctrl_c(host: TokenHost) -> None:
    info = await host.start()
    assert info.manufacturer == "SoftHSM"
    assert _status(host)["Threads"] == "1"
    assert "Max core file size        0                    0" in Path(f"/proc/{host.pid}/limits").read_text()
    assert host.pid is not None
    os.kill(host.pid, signal.SIGINT)
    await host.ping()
    assert host.counters.restarts == 0


async def test_the_host_inherits_no_environment_beyond_what_it_needs(
    host: TokenHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARDD_SECRET_OF_THE_DAEMON", "1")
    await host.start()
    environment = Path(f"/proc/{host.pid}/environ").read_bytes().split(b"\0")
    names = {line.partition(b"=")[0] for line in environment if line}
    assert names <= {b"PATH", b"LANG", b"LC_CTYPE", b"PYTHONPATH", b"SOFTHSM2_CONF"}


async def test_closing_ends_the_process(host: TokenHost) -> None:
    await host.start()
    pid = host.pid
    await host.close()
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(HostLostError):
        await host.ping()


def test_a_host_is_reached_from_the_loop_that_the_daemon_runs_on(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")

    async def kill_and_call() -> int:
        host = TokenHost(softhsm_profile(), softhsm_environment(tmp_path))
        await host.start()
        assert host.pid is not None
        os.kill(host.pid, signal.SIGKILL)
        await until(lambda: not host.running)
        await host.ping()
        await host.close()
        return host.counters.restarts

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(kill_and_call()) == 1


async def test_a_kill_in_mid_call_is_a_clear_error_and_the_next_call_works(host: TokenHost) -> None:
    token = await host.init_token("t", SO_PIN, USER_PIN)
    await host.login(token.serial, USER_PIN)
    assert host.pid is not None
    os.kill(host.pid, signal.SIGSTOP)  # so that the call cannot end before the kill
    calls = host.counters.calls
    making = asyncio.create_task(
        host.generate_key_pair(token.serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
    )
    await until(lambda: host.counters.calls == calls + 1)
    os.kill(host.pid, signal.SIGKILL)
    with pytest.raises(HostLostError):
        await making
    assert [found.serial for found in await host.list_tokens()] == [token.serial]
    assert host.counters.restarts == 1
    with pytest.raises(NotLoggedInError):
        await host.generate_key_pair(token.serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)


async def test_a_host_killed_while_idle_is_started_again_by_the_next_call(host: TokenHost) -> None:
    await host.start()
    pid = host.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not host.running)
    await host.ping()
    assert host.pid != pid


async def test_a_hang_ends_at_the_deadline_and_the_next_call_works(host: TokenHost) -> None:
    await host.start()
    pid = host.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(DeadlineExceededError):
        await host.ping(deadline=0.2)
    assert not Path(f"/proc/{pid}").exists()
    await host.ping()


async def test_a_cancelled_caller_does_not_disturb_the_next(host: TokenHost) -> None:
    token = await host.init_token("t", SO_PIN, USER_PIN)
    await host.login(token.serial, USER_PIN)
    calls = host.counters.calls
    making = asyncio.create_task(
        host.generate_key_pair(token.serial, KEY_ID, "k", KeyAlgorithm.RSA_2048, SIGNING)
    )
    await until(lambda: host.counters.calls == calls + 1)
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    other = KeyId(b"other")
    spki = await host.generate_key_pair(token.serial, other, "k", KeyAlgorithm.EC_P256, SIGNING)
    assert await host.public_key(token.serial, other) == spki
    assert host.counters.restarts == 0
    assert host.counters.busy == 0


async def test_a_caller_cancelled_while_waiting_leaves_no_trace(host: TokenHost) -> None:
    await host.start()
    first = asyncio.create_task(host.list_tokens())
    waiting = asyncio.create_task(host.list_tokens())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)
    await host.ping()
    assert host.counters.busy == 0


class _Key:
    """A key on a token that is logged in, and its host, which can be held in the middle of a call."""

    def __init__(self, host: TokenHost, serial: TokenSerial, spki: Spki) -> None:
        self.host = host
        self.serial = serial
        self._spki = spki
        self._sent_before = host.counters.calls
        #: What was signed, in the order in which it was answered.
        self.answered: list[bytes] = []

    @property
    def sent(self) -> int:
        """Calls that reached the host."""
        return self.host.counters.calls - self._sent_before

    def hold(self) -> None:
        """Have the host stop where it is."""
        assert self.host.pid is not None
        os.kill(self.host.pid, signal.SIGSTOP)

    def let_go(self) -> None:
        """Have the host go on."""
        assert self.host.pid is not None
        os.kill(self.host.pid, signal.SIGCONT)

    async def begin(
        self, *messages: bytes, serial: TokenSerial | None = None, deadline: float | None = None
    ) -> list[asyncio.Task[None]]:
        """Have messages signed, with the key or one like it on another token; return when all were asked for."""
        asked = self.serial if serial is None else serial
        signing = [asyncio.create_task(self._signed(asked, message, deadline)) for message in messages]
        busy = self.host.counters.busy + len(messages)
        await until(lambda: self.host.counters.busy == busy)
        return signing

    async def _signed(self, serial: TokenSerial, message: bytes, deadline: float | None) -> None:
        mechanism = SignMechanism.ECDSA_SHA256
        signature = await self.host.sign(
            serial, KEY_ID, mechanism, message, spki=self._spki, deadline=deadline
        )
        verification.verify(self._spki, mechanism, message, signature)
        self.answered.append(message)


async def _new_key(host: TokenHost) -> _Key:
    token = await host.init_token("t", SO_PIN, USER_PIN)
    await host.login(token.serial, USER_PIN)
    spki = await host.generate_key_pair(token.serial, KEY_ID, "k", KeyAlgorithm.EC_P256, SIGNING)
    return _Key(host, token.serial, spki)


@pytest.fixture
async def key(host: TokenHost) -> _Key:
    return await _new_key(host)


async def test_the_next_signature_is_sent_ahead_and_answers_keep_their_order(key: _Key) -> None:
    key.hold()
    signing = await key.begin(b"1", b"2", b"3")
    assert key.sent == 2
    key.let_go()
    await asyncio.gather(*signing)
    assert key.answered == [b"1", b"2", b"3"]
    assert (key.sent, key.host.counters.busy) == (3, 0)


async def test_what_is_no_use_of_a_key_waits_until_the_host_is_free_and_is_not_overtaken(key: _Key) -> None:
    key.hold()
    before = await key.begin(b"1")
    logging_out = asyncio.create_task(key.host.logout(key.serial))
    await until(lambda: key.host.counters.busy == 2)
    behind = await key.begin(b"2")
    assert key.sent == 1
    key.let_go()
    await asyncio.gather(*before, logging_out)
    with pytest.raises(NotLoggedInError):
        await asyncio.gather(*behind)


async def test_nothing_is_sent_ahead_to_a_module_with_one_reader_behind_it(tmp_path: Path) -> None:
    one_reader = msgspec.structs.replace(softhsm_profile(), max_processes=1)
    host = TokenHost(one_reader, softhsm_environment(tmp_path))
    key = await _new_key(host)
    key.hold()
    withdrawn, kept = await key.begin(b"1", b"2"), await key.begin(b"3")
    assert key.sent == 1
    withdrawn[1].cancel()
    await asyncio.wait(withdrawn[1:])
    key.let_go()
    await asyncio.gather(withdrawn[0], *kept)
    assert key.sent == 2
    await host.close()


@pytest.mark.parametrize("cancelled", [0, 1, 2], ids=["at work", "sent ahead", "waiting"])
async def test_a_signature_nobody_waits_for_any_more_does_not_disturb_the_others(
    key: _Key, cancelled: int
) -> None:
    key.hold()
    signing = await key.begin(b"0", b"1", b"2", b"3")
    signing[cancelled].cancel()
    await asyncio.wait([signing[cancelled]])
    key.let_go()
    await asyncio.gather(*signing, return_exceptions=True)
    assert key.answered == [message for message in (b"0", b"1", b"2", b"3") if message != b"%d" % cancelled]
    assert key.host.counters.restarts == 0
    await until(lambda: key.host.counters.busy == 0)


async def test_a_signature_that_was_sent_ahead_has_its_own_deadline(key: _Key, tmp_path: Path) -> None:
    with store_held(tmp_path):
        key.hold()
        answered = await key.begin(b"1")
        hanging = await key.begin(b"2", serial=NOT_OPENED, deadline=0.3)
        assert key.sent == 2
        key.let_go()
        await asyncio.gather(*answered)
        async with asyncio.timeout(10):
            with pytest.raises(DeadlineExceededError):
                await hanging[0]


def _hold_the_loop_until_held_up(pid: int) -> None:
    """Return when a host waits at a lock, ten seconds at most; what it answered before stays unread."""
    over = time.monotonic() + 10
    while not waits_at_a_lock(pid) and time.monotonic() < over:
        os.sched_yield()


async def test_what_a_host_had_answered_when_it_was_killed_is_not_lost_and_what_it_had_not_begun_is_done(
    key: _Key, tmp_path: Path
) -> None:
    pid = key.host.pid
    assert pid is not None
    with store_held(tmp_path):
        key.hold()
        answered = await key.begin(b"1")
        begun = await key.begin(b"2", serial=NOT_OPENED)
        waiting = await key.begin(b"3")
        key.let_go()
        _hold_the_loop_until_held_up(pid)
        os.kill(pid, signal.SIGKILL)
    await answered[0]
    with pytest.raises(HostLostError):
        await begun[0]
    with pytest.raises(NotLoggedInError):
        await waiting[0]
    assert key.host.counters.restarts == 1


async def test_a_call_that_waited_too_long_is_refused_and_the_host_left_alone(tmp_path: Path) -> None:
    host = TokenHost(softhsm_profile(), softhsm_environment(tmp_path), deadlines=Deadlines(queue=0.1))
    key = await _new_key(host)
    key.hold()
    signing = await key.begin(b"1")
    with pytest.raises(DeadlineExceededError, match="busy"):
        await host.list_tokens()
    key.let_go()
    await asyncio.gather(*signing)
    assert host.counters.restarts == 0
    await host.close()


async def test_closing_waits_for_the_calls_made_so_far(key: _Key) -> None:
    key.hold()
    signing = await key.begin(b"1", b"2", b"3")
    closing = asyncio.create_task(key.host.close())
    await asyncio.sleep(0)
    with pytest.raises(HostLostError, match="closed"):
        await key.host.ping()
    key.let_go()
    await asyncio.gather(*signing, closing)
    assert key.answered == [b"1", b"2", b"3"]


async def test_a_missing_module_says_what_to_install(tmp_path: Path) -> None:
    absent = TokenHost(softhsm_profile(), softhsm_environment(tmp_path), module_path=tmp_path / "absent.so")
    with pytest.raises(ModuleMissingError, match=r"absent\.so"):
        await absent.start()
    await absent.close()


async def test_a_file_that_is_no_module_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fake.so").write_bytes(b"not a library")
    fake = TokenHost(softhsm_profile(), softhsm_environment(tmp_path), module_path=tmp_path / "fake.so")
    with pytest.raises(ModuleMissingError):
        await fake.start()
    await fake.close()


async def test_the_host_dies_with_its_parent(tmp_path: Path) -> None:
    script = (
        "import asyncio, os, signal, sys\n"
        "from tests.support.softhsm import *\n"
        "from cardd_pkcs11.client import TokenHost\n"
        "from pathlib import Path\n"
        "async def main():\n"
        f"    host = TokenHost(softhsm_profile(), softhsm_environment(Path({str(tmp_path)!r})))\n"
        "    await host.start()\n"
        "    print(host.pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "asyncio.run(main())\n"
    )
    root = Path(__file__).resolve().parents[3]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'pkcs11'}"},
    )  # fmt: skip
    output, _ = await process.communicate()
    pid = int(output.decode().strip().splitlines()[-1])
    await until(lambda: not _is_alive(pid))


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
