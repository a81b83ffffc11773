"""A TPM 2.0 in software for tests: swtpm, and before it the access broker, on a bus of its own.

swtpm serves one connection and keeps what is loaded into it; a machine's TPM has the kernel's resource manager between
(`/dev/tpmrm0`). tpm2-abrmd does the same here, for as many programs as want the TPM.
"""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cardd_pkcs11.errors import ModuleMissingError
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.profiles import ModuleProfile, load_profile
from cardd_pkcs11.tpmstore import TpmStore

TCTI = "tabrmd:bus_type=session"
_READY_WITHIN = 20.0
_SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
_BROKER_LIBRARIES = ("/usr/lib", "/usr/lib64", "/lib")


def tpm_profile() -> ModuleProfile:
    """Return the profile of tpm2-pkcs11, or skip the test with the sentence that says what is missing."""
    profile = load_profile("tpm2")
    try:
        profile.locate()
    except ModuleMissingError as error:
        pytest.skip(str(error))
    for program in ("swtpm", "dbus-daemon", "tpm2-abrmd"):
        if shutil.which(program, path=_SBIN) is None:
            pytest.skip(f"{program} is not installed")
    if not any(
        found for root in _BROKER_LIBRARIES for found in Path(root).glob("**/libtss2-tcti-tabrmd.so.0")
    ):
        pytest.skip("libtss2-tcti-tabrmd0 is not installed")
    return profile


@dataclass(frozen=True)
class Tpm:
    """A running TPM."""

    bus: str

    @property
    def environment(self) -> dict[str, str]:
        """What leads programs to this TPM."""
        return {"DBUS_SESSION_BUS_ADDRESS": self.bus, "TPM2_PKCS11_TCTI": TCTI, "TPM2TOOLS_TCTI": TCTI}

    def settings(self) -> dict[str, str]:
        """What leads a daemon to this TPM."""
        return {"DBUS_SESSION_BUS_ADDRESS": self.bus, "CARDD_TOKENS__TPM_TCTI": TCTI}

    def pool(self, store: TpmStore) -> TokenHostPool:
        """Return a pool over a store, whose hosts reach this TPM."""
        environment = store.environment(TCTI) | self.environment
        return TokenHostPool(tpm_profile(), 1, environment, serial_seed=store.serial_seed)


@contextmanager
def running_tpm(directory: Path) -> Iterator[Tpm]:
    """Run a TPM whose state is in a directory; another directory is another TPM."""
    tpm_profile()
    state, chip = directory / "state", directory / "chip"
    state.mkdir(parents=True, exist_ok=True)
    port = _free_pair()
    with ExitStack() as running:
        # The path of a socket has to be short, and an address of D-Bus has no blanks.
        bus = Path(running.enter_context(tempfile.TemporaryDirectory(prefix="cardd-bus-"))) / "bus"
        running.enter_context(
            _process(
                directory, "swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}",
                "--server", f"type=tcp,port={port},bindaddr=127.0.0.1",
                "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1",
                "--flags", "not-need-init,startup-clear", "--pid", f"file={chip}",
            )
        )  # fmt: skip
        _wait_until(chip.exists, "swtpm does not run")
        address = f"unix:path={bus}"
        running.enter_context(
            _process(directory, "dbus-daemon", "--session", "--nofork", "--nopidfile", f"--address={address}")
        )
        _wait_until(bus.exists, "dbus-daemon does not run")
        running.enter_context(
            _process(
                directory, "tpm2-abrmd", "--session", "--allow-root", f"--tcti=swtpm:host=127.0.0.1,port={port}",
                bus=address,
            )
        )  # fmt: skip
        _wait_until(lambda: _broker_answers(address), "tpm2-abrmd does not answer")
        yield Tpm(address)


def _free_pair() -> int:
    """Return a port that is free with its next."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port


@contextmanager
def _process(directory: Path, program: str, *arguments: str, bus: str | None = None) -> Iterator[None]:
    environment = {"PATH": _SBIN} | ({"DBUS_SESSION_BUS_ADDRESS": bus} if bus else {})
    with (directory / f"{program}.log").open("ab") as log:
        process = subprocess.Popen([program, *arguments], env=environment, stdout=log, stderr=log)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def _broker_answers(bus: str) -> bool:
    asked = ("org.freedesktop.DBus.NameHasOwner", "string:com.intel.tss2.Tabrmd")
    done = subprocess.run(
        ["dbus-send", f"--bus={bus}", "--print-reply", "--dest=org.freedesktop.DBus", "/", *asked],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return "true" in done.stdout


def _wait_until(condition: Callable[[], bool], sentence: str) -> None:
    ends = time.monotonic() + _READY_WITHIN
    while not condition():
        assert time.monotonic() < ends, sentence
        time.sleep(0.02)
