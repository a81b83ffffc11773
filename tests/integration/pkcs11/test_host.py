"""One token host over a real SoftHSM: its process, its losses, its deadlines."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cardd_pkcs11.client import TokenHost
from cardd_pkcs11.errors import DeadlineExceededError, HostLostError, ModuleMissingError, NotLoggedInError
from cardd_pkcs11.types import KeyAlgorithm, KeyId
from tests.support.softhsm import (
    KEY_ID,
    SIGNING,
    SO_PIN,
    USER_PIN,
    softhsm_environment,
    softhsm_profile,
    until,
)


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
