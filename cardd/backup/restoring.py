"""Putting a backup into an empty state directory, whole or not at all.

Everything is gathered in `.restoring` inside the state directory and checked there: every file against the manifest,
the database and the journal's chain as such. PINs and instance key are sealed to this state and machine. Where the
state is to be in PostgreSQL, the rows go there in one transaction, compared with what left (`store.moving`). Then one
rename makes it `.restored`, and from there on it is the state: its entries move to their places, by this process or by
the next start. Cut short before the rename, nothing was restored, and a daemon refuses to begin a new PKI beside it.
"""

import asyncio
import fcntl
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import IO

import msgspec
import sqlalchemy as sa

from cardd.audit import JournalEntry, verify_chain
from cardd.backup.archive import Identity, hashed_copy, read_identities, reading
from cardd.backup.errors import BackupUnreadableError, RestoreUnfinishedError, StateNotEmptyError
from cardd.backup.layout import MANIFEST, REPORT, RESTORED, RESTORING, SEALED_ELSEWHERE, is_of_a_state
from cardd.backup.takeup import LEAP
from cardd.backup.types import FORMAT, Manifest, RestoreReport, SealedElsewhere
from cardd.clock import Clock
from cardd.custody.evidence import reseal_instance_key
from cardd.custody.pins import PinVault
from cardd.custody.seal import open_sealer, sync_directory, write_secret
from cardd.igc.publishing import leap_numbers
from cardd.progress import no_progress
from cardd.store import SharedDatabase, machine
from cardd.store.carrying import give_to_only_machine, opened_file
from cardd.store.migrate import upgrade
from cardd.store.moving import load
from cardd.store.snapshot import DATABASE
from cardd.store.tables import journal, journal_head
from cardd.text import Text

#: What may lie in a state directory that is called empty.
_EMPTY = frozenset({"lock", "run", "lost+found", RESTORING})
#: Read into memory: a vault of 100,000 tokens is about 20 MB.
_LARGEST_IN_MEMORY = 256 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a backup is restored: its rows go into `database` where there is one, else into the state directory."""

    state: Path
    database: SharedDatabase | None


def restore(backup: Path, identity: Path, place: Place, clock: Clock) -> RestoreReport:
    """Restore a backup into an empty state directory; blocks. What an earlier restore left unfinished is begun anew.

    Raises:
        BackupUnreadableError: it is none, is damaged, or is not for this identity.
        StateNotEmptyError: there is a state, or something else.
        TargetNotEmptyError: the database holds a state.
        StoreUnavailableError: the database does not answer.
    """
    state = place.state
    try:
        identities = read_identities(identity.read_bytes())
    except OSError as error:
        raise _refused(
            f"the identity {identity} cannot be read: {error.strerror}",
            f"l’identité {identity} est illisible : {error.strerror}",
        ) from None
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    state.chmod(0o700)
    with _alone(state):
        work = state / RESTORING
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o700)
        try:
            report = _gathered(backup, identities, work, place, clock)
            if place.database is not None:
                _hand_over(work, place.database)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        work.rename(state / RESTORED)
        sync_directory(state)
        finish_restore(state)
    return report


def finish_restore(state: Path) -> None:
    """Move what was restored to its place; at every start, since a restore may have been cut short.

    Raises:
        RestoreUnfinishedError: one was cut short before it was whole.
    """
    if (state / RESTORING).exists():
        raise RestoreUnfinishedError(
            Text(
                f"{state} holds a restore that was cut short.",
                f"{state} contient une restauration interrompue.",
            )
        )
    restored = state / RESTORED
    if not restored.exists():
        return
    for entry in sorted(restored.iterdir()):
        entry.rename(state / entry.name)
    sync_directory(state)
    restored.rmdir()
    sync_directory(state)


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Hold the state as a daemon does, and see that it is empty."""
    with (state / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _not_empty(state, "a daemon works on it", "un démon y travaille") from None
        found = sorted(path.name for path in state.iterdir() if path.name not in _EMPTY)
        if found:
            raise _not_empty(state, f"it holds {found[0]}", f"il contient {found[0]}")
        yield


def _gathered(
    backup: Path, identities: Sequence[Identity], work: Path, place: Place, clock: Clock
) -> RestoreReport:
    hashes: dict[str, str] = {}
    kept: dict[str, bytes] = {}
    with reading(backup, identities) as entries:
        for name, mode, content in entries:
            if name in (MANIFEST, SEALED_ELSEWHERE):
                kept[name] = content.read(_LARGEST_IN_MEMORY)
            else:
                hashes[name] = _put(work, name, mode, content)
    manifest = _checked(kept, hashes)
    lines = _check_database(work / DATABASE)
    _settle(work)
    _reseal(work, kept[SEALED_ELSEWHERE])
    report = RestoreReport(
        state_dir=str(place.state),
        made_at=manifest.made_at,
        restored_at=clock.now().astimezone(UTC).replace(microsecond=0),
        version=manifest.version,
        files=len(hashes),
        journal_lines=lines,
        tokens=manifest.tokens,
        left_out=manifest.left_out,
        database=None if place.database is None else place.database.shown,
    )
    write_secret(work / REPORT, msgspec.json.encode(report))
    for folder, _, _ in os.walk(work):
        sync_directory(Path(folder))
    return report


def _put(work: Path, name: str, mode: int, content: IO[bytes]) -> str:
    if not is_of_a_state(name):
        raise _refused(
            f"it holds {name!r}, which is of no state", f"elle contient {name!r}, étranger à un état"
        )
    path = work / name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 | mode & 0o700)
    with os.fdopen(descriptor, "wb") as file:
        found = hashed_copy(content, file)
        file.flush()
        os.fsync(file.fileno())
    return found


def _checked(kept: dict[str, bytes], hashes: dict[str, str]) -> Manifest:
    try:
        known = msgspec.json.decode(kept.get(MANIFEST, b"{}"), type=dict[str, object]).get("format")
        if isinstance(known, int) and known > FORMAT:
            raise _refused("a newer version of cardd made it", "une version plus récente de cardd l’a faite")
        manifest = msgspec.json.decode(kept[MANIFEST], type=Manifest)
    except (KeyError, msgspec.MsgspecError):
        raise _refused("it has no manifest", "elle n’a pas de manifeste") from None
    expected = {name: value for name, value in manifest.files.items() if name != SEALED_ELSEWHERE}
    if expected != hashes or SEALED_ELSEWHERE not in kept or DATABASE not in hashes:
        raise _refused(
            "its files are not those of its manifest", "ses fichiers ne sont pas ceux de son manifeste"
        )
    return manifest


def _check_database(path: Path) -> int:
    """Check the database and the journal's chain in it; return the journal's length."""
    try:
        with closing(sqlite3.connect(path)) as database:
            (answer,) = database.execute("PRAGMA integrity_check").fetchone()
            head = database.execute("SELECT seq, hash FROM journal_head").fetchone()
    except sqlite3.Error as error:
        raise _refused(f"its database: {error}", f"sa base de données : {error}") from None
    if answer != "ok" or head is None:
        raise _refused("its database is damaged", "sa base de données est endommagée")
    engine = sa.create_engine(f"sqlite:///{path}")
    try:
        with engine.connect() as connection:
            rows = connection.execute(sa.select(journal).order_by(journal.c.seq))
            report = verify_chain(
                (JournalEntry(**row._asdict()) for row in rows), head_seq=head[0], head_hash=head[1]
            )
    finally:
        engine.dispose()
    if not report.valid:
        raise _refused("its journal does not verify", "son journal ne se vérifie pas")
    return report.entries


def _settle(work: Path) -> None:
    """Make the rows those of this state, as they are where nobody shares it, and have numbers leap ahead."""
    upgrade(f"sqlite:///{work / DATABASE}")
    with opened_file(work / DATABASE) as state:
        if (work / machine.FILE).is_file():
            give_to_only_machine(state, machine.machine_identifier(work))
        leap_numbers(state, LEAP)
        state.exec_driver_sql("UPDATE sqlite_sequence SET seq = seq + ?", (LEAP,))


def _hand_over(work: Path, database: SharedDatabase) -> None:
    """Put the rows into the shared database; cut short after that, the next restore finds them there."""
    with opened_file(work / DATABASE) as state:
        head = state.execute(sa.select(journal_head.c.hash)).scalar_one()
    # A state that was alone has no identifier yet: the same for each try, so that rows put there before are known.
    own = machine.machine_identifier(work, new=head[:16])
    asyncio.run(load(work / DATABASE, own, database, no_progress))
    (work / DATABASE).unlink()
    sync_directory(work)


def _reseal(work: Path, content: bytes) -> None:
    try:
        sealed = msgspec.json.decode(content, type=SealedElsewhere)
    except msgspec.MsgspecError:
        raise _refused("its PINs cannot be read", "ses codes sont illisibles") from None
    sealer = open_sealer(work)
    PinVault(work / "pins", sealer).reseal(sealed.pins)
    reseal_instance_key(work, sealer, sealed.instance_key)


def _refused(english: str, french: str) -> BackupUnreadableError:
    return BackupUnreadableError(Text(f"The backup: {english}.", f"La sauvegarde : {french}."))


def _not_empty(state: Path, english: str, french: str) -> StateNotEmptyError:
    return StateNotEmptyError(Text(f"{state}: {english}.", f"{state} : {french}."))
