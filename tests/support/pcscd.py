"""A real pcscd with two virtual readers for the tests' own process, and cards to put in them.

What was found of pcsc-lite 1.9.9 and vpcd 3.3:

* pcscd's socket path (/run/pcscd/pcscd.comm) is compiled in. It is moved by a bind mount in a private mount
  namespace, which puts an ordinary directory of ours in the place of /run/pcscd.
* A Unix socket is reached through its inode, so clients outside the namespace use it through that directory,
  named by PCSCLITE_CSOCK_NAME. No client has to run inside.
* libpcsclite reads PCSCLITE_CSOCK_NAME once in a process, at its first call. So the directory is fixed for
  the process and libpcsclite is told of it when this module is imported, before any test; afterwards the
  variable is put back, for other tests' children. Each test has a pcscd of its own in that directory.
* vpcd listens on every interface; pcscd runs in a network namespace of its own, and connections to the
  readers are opened inside and handed out (`cardd.virtualcard.ConfinedPcscd`).
* The lock keeps test runs of this machine apart, not for the socket's sake but for the two cores': these
  tests measure times.
"""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cardd.readers.errors import PcscError
from cardd.readers.pcsc import SystemPcsc, available
from cardd.virtualcard import (
    CardContent,
    CardEvent,
    CardHolder,
    CardProfile,
    CardSerial,
    ConfinedPcscd,
    Connector,
    Fault,
    Generation,
    MemoryStateStore,
    VirtualCard,
)

LOCK = Path(tempfile.gettempdir()) / "cardd-pcscd.lock"
FIRST_READER, SECOND_READER = "Virtual PCD 00 00", "Virtual PCD 00 01"
_VARIABLE = "PCSCLITE_CSOCK_NAME"
_LOWEST_COST = 2


def _own_directory() -> Path:
    """Make this process's directory and have libpcsclite remember the socket in it."""
    directory = Path(tempfile.mkdtemp(prefix="cardd-pcscd-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    if not available():
        return directory
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = str(ConfinedPcscd(directory).socket_path)
    try:
        SystemPcsc().establish_context()
    except PcscError:
        pass  # nobody answers yet: it is the path that counts
    finally:
        del os.environ[_VARIABLE]
        if before is not None:
            os.environ[_VARIABLE] = before
    return directory


DIRECTORY = _own_directory()


def missing_part() -> str | None:
    """Return why a real pcscd cannot be tested here, for `pytest.skip`."""
    if not (found := available()):
        return found.sentence.en
    missing = ConfinedPcscd.missing_part()
    return missing.en if missing is not None else None


@contextmanager
def turn() -> Iterator[None]:
    """Wait until no other test run of this machine holds a pcscd."""
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def virtual_card(
    connector: Connector,
    serial: str,
    *,
    generation: Generation = Generation.CPS3,
    faults: Iterable[Fault] = (),
    observer: Callable[[CardEvent], None] = lambda _: None,
) -> VirtualCard:
    """Make a card without keys: its number can be read, nothing else."""
    profile = CardProfile(CardSerial(serial), generation=generation)
    content = CardContent(profile, (), CardHolder("DUPONT", "CAMILLE", "899700000001"))
    return VirtualCard(
        content,
        MemoryStateStore(),
        connector=connector,
        faults=faults,
        code_cost=_LOWEST_COST,
        observer=observer,
    )
