"""Which files of a state directory a backup holds, and under which names it holds the rest."""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cardd.store.snapshot import DATABASE

#: Entries of a backup that are no files of the state as it lies on disk.
MANIFEST = "manifest.json"
SEALED_ELSEWHERE = "sealed.json"

#: Where a backup gathers what is copied first.
WORK = ".backup"
#: Where a restore gathers the state, and where it lies once it is whole (see `restoring`).
RESTORING, RESTORED = ".restoring", ".restored"
#: What a restore tells the first start after it.
REPORT = "restored.json"

#: Of a running daemon alone, sealed to the machine, or copied in a way of its own.
_LEFT_OUT = frozenset(
    {
        "address",
        "lock",
        "run",
        "backups",
        RESTORING,
        RESTORED,
        REPORT,
        WORK,
        "seal.key",
        "seal.cred",
        "instance.key",
        DATABASE,
        f"{DATABASE}-wal",
        f"{DATABASE}-shm",
        f"{DATABASE}-journal",
        "revocation/index",
        "revocation/incoming",
    }
)
_VAULT, _EXPORTED_PINS = PurePosixPath("pins"), PurePosixPath("pins/exported")


def files_to_keep(state: Path, elsewhere: Path) -> Iterator[tuple[str, Path]]:
    """Yield name and path of the files that go into a backup as they are; `elsewhere` is left out with all in it."""
    for folder, folders, files in os.walk(state):
        here = Path(folder)
        folders[:] = sorted(
            name for name in folders if here / name != elsewhere and not _left_out(state, here / name)
        )
        for name in sorted(files):
            path = here / name
            if path.is_file() and not path.is_symlink() and not _left_out(state, path):
                yield path.relative_to(state).as_posix(), path


def is_of_a_state(name: str) -> bool:
    """Tell whether an entry may be put into a state directory under its name."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and path.parts != () and "\\" not in name


def _left_out(state: Path, path: Path) -> bool:
    name = PurePosixPath(path.relative_to(state).as_posix())
    if name.parts[0] == _VAULT.name and name != _VAULT:
        return name != _EXPORTED_PINS and _EXPORTED_PINS not in name.parents
    return str(name) in _LEFT_OUT
