"""The file of a backup: a tar (POSIX.1-2001) inside age (age-encryption.org/v1), written and read as a stream.

age encrypts to X25519 recipients or SSH keys and authenticates every 64 KiB (ChaCha20-Poly1305), the last one as the
last, so that a file that is damaged or cut short does not open. Nothing is written in clear on the way.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TypeAlias

import pyrage

from cardd.backup.errors import BackupUnreadableError, RecipientInvalidError
from cardd.text import Text

Recipient: TypeAlias = "pyrage.x25519.Recipient | pyrage.ssh.Recipient"
Identity: TypeAlias = "pyrage.x25519.Identity | pyrage.ssh.Identity"

_PIECE = 256 * 1024


def read_recipients(lines: Sequence[str]) -> list[Recipient]:
    """Parse recipients; raises `RecipientInvalidError`."""
    found: list[Recipient] = []
    for position, line in enumerate(lines):
        kind = pyrage.x25519.Recipient if line.startswith("age1") else pyrage.ssh.Recipient
        try:
            found.append(kind.from_str(line.strip()))
        except pyrage.RecipientError:
            raise RecipientInvalidError(position) from None
    return found


def read_identities(content: bytes) -> list[Identity]:
    """Parse a file of identities: age's (`AGE-SECRET-KEY-1…`, a line each), or one SSH private key.

    Raises:
        BackupUnreadableError: there is none in it, or the SSH key asks for a passphrase.
    """
    lines = content.decode("utf-8", errors="replace").splitlines()
    keys = [line.strip() for line in lines if line.startswith("AGE-SECRET-KEY-1")]
    try:
        if keys:
            return [pyrage.x25519.Identity.from_str(key) for key in keys]
        return [pyrage.ssh.Identity.from_buffer(content)]
    except pyrage.IdentityError:
        raise BackupUnreadableError(
            Text(
                "The identity file holds neither an age identity nor an SSH private key without passphrase.",
                "Le fichier d’identité ne contient ni identité age ni clé privée SSH sans phrase secrète.",
            )
        ) from None


def new_identity() -> tuple[str, str]:
    """Return a new age identity file's text, and its recipient."""
    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    return f"# public key: {recipient}\n{identity}\n", recipient


class ArchiveWriter:
    """Writes one archive; every method blocks: from a coroutine, call it in a thread, one at a time."""

    def __init__(self, target: IO[bytes], recipients: Sequence[Recipient]) -> None:
        readable, writable = os.pipe()
        self.hashes: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(1, "age")
        self._encrypted: Future[None] = self._thread.submit(_encrypt, readable, target, recipients)
        self._pipe = os.fdopen(writable, "wb")
        self._tar = tarfile.open(  # noqa: SIM115 (closed by `finish`)
            fileobj=self._pipe, mode="w|", format=tarfile.PAX_FORMAT, bufsize=_PIECE
        )

    def finish(self) -> None:
        """End the archive: all of it has been handed to the target when this returns."""
        self._tar.close()
        self._pipe.close()
        self._encrypted.result()
        self._thread.shutdown()

    def abandon(self) -> None:
        """Give the archive up; what the target holds of it is worthless."""
        for closed in (self._tar, self._pipe):
            with suppress(OSError, ValueError):
                closed.close()
        self._thread.shutdown()

    def add_bytes(self, name: str, content: bytes) -> None:
        """Add a file from memory."""
        self._add(name, io.BytesIO(content), len(content), 0o600)

    def add_file(self, name: str, path: Path) -> None:
        """Add a file as it is now."""
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            self._add(name, file, status.st_size, status.st_mode & 0o700)

    def _add(self, name: str, file: IO[bytes], size: int, mode: int) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mode = size, mode
        hashed = _Hashing(file)
        try:
            self._tar.addfile(entry, hashed)
        except BrokenPipeError:
            self._encrypted.result()
            raise
        self.hashes[name] = hashed.hexdigest()


@contextmanager
def reading(path: Path, identities: Sequence[Identity]) -> Iterator[Iterator[tuple[str, int, IO[bytes]]]]:
    """Open an archive and yield its entries, in their order: name, mode and content, to be read at once.

    The entries are the whole archive only once they are exhausted.

    Raises:
        BackupUnreadableError: at the opening or at any entry.
    """
    try:
        source = path.open("rb")
    except OSError as error:
        raise _refused(error.strerror or "read error", error.strerror or "erreur de lecture") from None
    readable, writable = os.pipe()
    with source, ThreadPoolExecutor(1, "age") as thread, os.fdopen(readable, "rb") as pipe:
        decrypted = thread.submit(_decrypt, source, writable, identities)
        try:
            yield _entries(pipe)
            decrypted.result()
        except (tarfile.TarError, pyrage.DecryptError, _BrokenCipherError) as error:
            pipe.close()
            raise _reason(decrypted.exception() or error) from None
        finally:
            pipe.close()


def hashed_copy(source: IO[bytes], target: IO[bytes]) -> str:
    """Copy a stream to its end and return its SHA-256."""
    digest = hashlib.sha256()
    while piece := source.read(_PIECE):
        digest.update(piece)
        target.write(piece)
    return digest.hexdigest()


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Hashing(io.RawIOBase):
    """Passes a file on and hashes what passes."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def read(self, size: int = -1, /) -> bytes:
        piece = self._file.read(size)
        self._digest.update(piece)
        return piece

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def _entries(pipe: IO[bytes]) -> Iterator[tuple[str, int, IO[bytes]]]:
    with tarfile.open(fileobj=pipe, mode="r|", bufsize=_PIECE) as tar:
        for entry in tar:
            content = tar.extractfile(entry) if entry.isreg() else None
            if content is None:
                raise _refused(f"{entry.name} is not a file", f"{entry.name} n’est pas un fichier")
            yield entry.name, entry.mode, content
    while pipe.read(_PIECE):
        pass


def _encrypt(readable: int, target: IO[bytes], recipients: Sequence[Recipient]) -> None:
    with os.fdopen(readable, "rb") as source:
        pyrage.encrypt_io(source, target, recipients)


class _BrokenCipherError(Exception):
    """A piece that does not authenticate: pyrage says so with a plain OSError, as it does of the target's errors."""


def _decrypt(source: IO[bytes], writable: int, identities: Sequence[Identity]) -> None:
    with suppress(BrokenPipeError), os.fdopen(writable, "wb") as target:
        try:
            pyrage.decrypt_io(source, target, identities)
        except OSError as error:
            if error.errno is None:
                raise _BrokenCipherError from None
            raise


def _reason(error: BaseException) -> BackupUnreadableError:
    """Say what stopped the reading; what stopped the decryption says more than the tar's early end."""
    if "No matching keys" in str(error):
        return _refused(
            "this identity is not one of its recipients", "cette identité n’est pas l’un de ses destinataires"
        )
    if isinstance(error, tarfile.TarError):
        return _refused("what is inside is no backup", "son contenu n’est pas une sauvegarde")
    return _refused("it is damaged, cut short or no backup", "elle est endommagée, tronquée ou autre chose")


def _refused(english: str, french: str) -> BackupUnreadableError:
    return BackupUnreadableError(Text(f"The backup: {english}.", f"La sauvegarde : {french}."))
