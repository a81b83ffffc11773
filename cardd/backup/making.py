"""Making a backup while the daemon works.

For a moment this daemon writes nothing, neither in the database nor on a token: the tokens are read then, and the
database is pinned as it is. Tokens and rows of one moment agree, down to the counters that tell a copy. Then work goes
on, and the database is copied as it was pinned: always into a SQLite file, also where it is PostgreSQL's and other
machines write meanwhile, so that a backup can be restored onto either. The backup appears in its directory whole or
not at all.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, timedelta
from pathlib import Path

import msgspec
import sqlalchemy as sa
import structlog

from cardd import __version__
from cardd.backup.archive import ArchiveWriter, Recipient, file_hash, read_recipients
from cardd.backup.errors import BackupFailedError, NoRecipientError
from cardd.backup.layout import MANIFEST, SEALED_ELSEWHERE, WORK, files_to_keep
from cardd.backup.types import BackupRequest, BackupView, Manifest, SealedElsewhere, TokenInBackup
from cardd.clock import Clock
from cardd.custody.evidence import InstanceKey
from cardd.custody.pins import PinVault
from cardd.custody.seal import sync_directory, write_secret
from cardd.custody.tokens import TokenKeeper
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.revocation.cache import RevocationCache
from cardd.settings import Settings
from cardd.store import Store
from cardd.store.snapshot import DATABASE
from cardd.store.tables import machines, tokens
from cardd.text import Text
from cardd_pkcs11.operations import TokenPool
from cardd_pkcs11.types import CustodyLevel

_SUFFIX = ".tar.age"
_UNFINISHED = ".part"
_KIND = Text("backup", "sauvegarde")
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class BackupParts:
    """What a backup is made of."""

    settings: Settings
    store: Store
    clock: Clock
    pool: TokenPool
    keeper: TokenKeeper
    vault: PinVault
    instance: InstanceKey
    revocation: RevocationCache


class Backups:
    """The backups of one state, in their directory."""

    def __init__(self, parts: BackupParts) -> None:
        self._parts = parts
        self._state = parts.settings.state
        self._settings = parts.settings.backup
        self._work = self._state / WORK
        self._turn = asyncio.Lock()

    @property
    def _directory(self) -> Path:
        named = self._settings.directory
        return Path(named) if named else self._state / "backups"

    async def take_settings(self, settings: Settings) -> None:
        """Go by new settings from now on; a backup that is being made ends as it was begun."""
        async with self._turn:
            self._settings = settings.backup

    async def make(self, request: BackupRequest) -> BackupView:
        """Make a backup for the recipients of the settings and those of the request.

        Raises:
            NoRecipientError, RecipientInvalidError: nobody could open it.
            BackupFailedError: it cannot be written; nothing is left of it.
        """
        always = self._settings.named_recipients
        named = tuple(dict.fromkeys((*always, *(each.strip() for each in request.recipients))))
        recipients = read_recipients(named)
        if not recipients:
            raise NoRecipientError
        async with self._turn:
            try:
                view = await self._make(named, recipients)
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise BackupFailedError(Text(f"{reason}.", f"{reason}.")) from error
        async with self._parts.store.transaction() as tx:
            facts = {"sha256": view.sha256, "recipients": list(view.recipients)}
            tx.journal("backup.made", f"backup:{view.name}", **facts)
            tx.publish(EventType.BACKUP_MADE, f"backup:{view.name}", size=view.size)
        _log.info("backup_made", name=view.name, size=view.size)
        return view

    async def list(self) -> Sequence[BackupView]:
        """Return the backups in the directory, newest first."""
        return await asyncio.to_thread(self._found)

    async def path(self, name: str) -> Path:
        """Return where a backup is; raises `NotFoundError`."""
        if name not in {view.name for view in await self.list()}:
            raise NotFoundError.of(_KIND, name)
        return self._directory / name

    async def delete(self, name: str) -> None:
        """Remove a backup; raises `NotFoundError`."""
        path = await self.path(name)
        async with self._parts.store.transaction() as tx:
            tx.journal("backup.deleted", f"backup:{name}")
        await asyncio.to_thread(self._remove, path)

    async def make_due(self) -> None:
        """Make the regular backup when it is due, and remove those beyond the number to keep."""
        settings = self._settings
        if not settings.every_hours or not settings.named_recipients:
            return
        now, interval = self._parts.clock.now(), timedelta(hours=settings.every_hours)
        if not any(now - interval < each.made_at <= now for each in await self.list()):
            await self.make(BackupRequest())
            now = self._parts.clock.now()
        # Those of a time before the clock was set back are the oldest, whatever they say.
        known = sorted(await self.list(), key=lambda each: each.made_at > now)
        for old in known[settings.keep :]:
            await self.delete(old.name)

    async def _make(self, named: tuple[str, ...], recipients: Sequence[Recipient]) -> BackupView:
        made_at = self._parts.clock.now().astimezone(UTC).replace(microsecond=0)
        name = f"cardd-{made_at:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}{_SUFFIX}"
        unfinished = self._directory / f".{name}{_UNFINISHED}"
        await asyncio.to_thread(self._prepare)
        try:
            tokens, left_out = await self._tokens(), await self._left_out()
            with unfinished.open("xb") as target:
                unfinished.chmod(0o600)
                manifest = Manifest(
                    made_at=made_at, version=__version__, files={}, tokens=tokens, left_out=left_out
                )
                await self._write(ArchiveWriter(target, recipients), manifest)
                await asyncio.to_thread(os.fsync, target.fileno())
            described = BackupView(
                name=name,
                made_at=made_at,
                size=unfinished.stat().st_size,
                sha256=await asyncio.to_thread(file_hash, unfinished),
                recipients=named,
                tokens=tokens,
                left_out=left_out,
            )
            await asyncio.to_thread(self._keep, unfinished, described)
        finally:
            await asyncio.to_thread(self._clear)
        return described

    async def _write(self, writer: ArchiveWriter, manifest: Manifest) -> None:
        parts, index, database = self._parts, self._work / "index", self._work / DATABASE
        try:
            await parts.revocation.copy_index(index)
            async with AsyncExitStack() as pinned:
                async with parts.store.held(), parts.pool.unchanging():
                    snapshot = await pinned.enter_async_context(parts.store.snapshot())
                    await asyncio.to_thread(self._write_files, writer)
                await snapshot.copy_to(database)
            await asyncio.to_thread(writer.add_file, DATABASE, database)
            for each in sorted(index.iterdir()):
                await asyncio.to_thread(writer.add_file, f"revocation/index/{each.name}", each)
            complete = msgspec.structs.replace(manifest, files=dict(writer.hashes))
            await asyncio.to_thread(writer.add_bytes, MANIFEST, msgspec.json.encode(complete))
            await asyncio.to_thread(writer.finish)
        except BaseException:
            await asyncio.to_thread(writer.abandon)
            raise

    def _write_files(self, writer: ArchiveWriter) -> None:
        """Write what must not change meanwhile, and the PINs of the tokens as they are."""
        for name, path in files_to_keep(self._state, self._directory):
            with suppress(FileNotFoundError):  # removed since: an exported PIN taken back, a list tidied away
                writer.add_file(name, path)
        sealed = SealedElsewhere(instance_key=self._parts.instance.raw(), pins=self._parts.vault.unsealed())
        writer.add_bytes(SEALED_ELSEWHERE, msgspec.json.encode(sealed))

    async def _tokens(self) -> tuple[TokenInBackup, ...]:
        return tuple(
            TokenInBackup(
                serial=record.serial,
                label=record.label,
                level=record.level,
                included=record.level is not CustodyLevel.HARDWARE,
                note=_IN_THE_DEVICE if record.level is CustodyLevel.HARDWARE else _INCLUDED,
            )
            for record in await self._parts.keeper.list()
        )

    async def _left_out(self) -> tuple[Text, ...]:
        """Say what of the machines that share the database is not in the backup."""
        if not self._parts.store.shared:
            return ()
        held = sa.select(sa.func.count()).where(
            tokens.c.machine == machines.c.id, tokens.c.retired_at.is_(None)
        )
        others = sa.select(machines.c.id, machines.c.name, held.scalar_subquery().label("tokens"))
        async with self._parts.store.read() as connection:
            found = (await connection.execute(others.where(machines.c.id != self._parts.store.machine))).all()
        directory = self._parts.settings.pki.directory
        shared = (_of_the_directory(directory),) if directory else ()
        return (*shared, *(_of_another(each.id, each.name, each.tokens) for each in found))

    def _prepare(self) -> None:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._clear()
        (self._work / "index").mkdir(mode=0o700, parents=True)

    def _clear(self) -> None:
        """Remove what an unfinished backup left."""
        shutil.rmtree(self._work, ignore_errors=True)
        for left_over in self._directory.glob(f".*{_UNFINISHED}"):
            left_over.unlink(missing_ok=True)

    def _keep(self, unfinished: Path, described: BackupView) -> None:
        write_secret(self._description(described.name), msgspec.json.encode(described))
        unfinished.rename(self._directory / described.name)
        sync_directory(self._directory)

    def _found(self) -> Sequence[BackupView]:
        found = []
        for path in self._directory.glob(f"cardd-*{_SUFFIX}"):
            with suppress(OSError, msgspec.MsgspecError):
                found.append(msgspec.json.decode(self._description(path.name).read_bytes(), type=BackupView))
        return sorted(found, key=lambda view: (view.made_at, view.name), reverse=True)

    def _remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._description(path.name).unlink(missing_ok=True)

    def _description(self, name: str) -> Path:
        return self._directory / f"{name.removesuffix(_SUFFIX)}.json"


_INCLUDED = Text(
    "its keys are in the backup, as the token encrypts them, and its PIN for whoever opens it",
    "ses clés sont dans la sauvegarde, chiffrées par le jeton, et son code pour qui l’ouvre",
)
_IN_THE_DEVICE = Text(
    "its keys are inside a device and not in the backup: they serve again only on the machine with that device",
    "ses clés sont dans un matériel, pas dans la sauvegarde : elles ne resserviront que sur la machine qui l’a",
)


def _of_another(machine: str, name: str, held: int) -> Text:
    return Text(
        f"{name} (machine {machine}): its rows of the database are in the backup; its tokens ({held}) with their PINs, "
        "its test cards and its owner's token are not: make a backup there too",
        f"{name} (machine {machine}) : ses lignes de la base sont dans la sauvegarde ; ses jetons ({held}) et leurs "
        "codes, ses cartes de test et le jeton de son propriétaire n’y sont pas : faites-y aussi une sauvegarde",
    )


def _of_the_directory(directory: str) -> Text:
    return Text(
        f"{directory} (pki.directory): the CA keys are there and not in the backup; copy the directory with your own "
        "means while the daemons that use it are stopped",
        f"{directory} (pki.directory) : les clés des AC y sont et pas dans la sauvegarde ; copiez ce répertoire par "
        "vos propres moyens, les démons qui s’en servent étant arrêtés",
    )
