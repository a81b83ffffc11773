"""Secrets at rest, sealed to this state and this machine.

A secret of 32 random bytes lies in the state directory, outside the tokens: as a credential of systemd-creds where
that works (its key is the host's, and the TPM's where there is one: `systemd-creds(1)`, `--with-key=auto`), otherwise
as a file (0600). It never encrypts by itself: HKDF-SHA256 (RFC 5869) mixes it with the machine's identifier
(`machine-id(5)`), and the result is the key of AES-256-GCM. So what is sealed opens with both, and on a machine
without an identifier it is not bound to any machine, and says so.
"""

import hashlib
import os
import secrets
import shutil
import subprocess
import sys
from enum import StrEnum, unique
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cardd.errors import CarddError
from cardd.text import Text

SECRET_BYTES = 32

_FORMAT = b"cardd-seal-1\0"
_NONCE_BYTES = 12
_KEY_FILE = "seal.key"
_CREDENTIAL_FILE = "seal.cred"
_CREDENTIAL_NAME = "cardd-seal"
_CREDENTIAL_SECONDS = 20.0
_MACHINE_ID_FILES = (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id"))


class SealBrokenError(CarddError):
    """What was sealed does not open here: another machine, another state, or a changed file."""

    code = "seal_broken"
    status = 500
    title = Text("A sealed secret does not open here", "Un secret scellé ne s’ouvre pas ici")
    default_advice = Text(
        "It opens only on the machine and with the state directory that sealed it: use those, or begin a new state.",
        "Il ne s’ouvre que sur la machine et avec l’état qui l’ont scellé : utilisez-les, ou créez un nouvel état.",
    )


@unique
class SecretKeeper(StrEnum):
    """What keeps the sealing secret."""

    SYSTEMD_CREDS = "systemd-creds"
    KEY_FILE = "key file"


class Sealer:
    """Seals and opens small secrets; `machine_id` is None where the machine has none."""

    def __init__(self, secret: bytes, machine_id: bytes | None, keeper: SecretKeeper) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a sealing secret has {SECRET_BYTES} bytes")
        self._secret = secret
        self._machine_id = machine_id
        self.keeper = keeper

    def __repr__(self) -> str:
        return f"Sealer({self.keeper}, binds_machine={self.binds_machine})"

    @property
    def binds_machine(self) -> bool:
        """Whether what is sealed opens on this machine only."""
        return self._machine_id is not None

    @property
    def machine(self) -> str:
        """SHA-256 that names the machine without showing its identifier, hexadecimal."""
        return hashlib.sha256(b"cardd machine\0" + (self._machine_id or b"")).hexdigest()

    def seal(self, plaintext: bytes, purpose: str) -> bytes:
        """Encrypt; what was sealed for one purpose does not open for another."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return _FORMAT + nonce + AESGCM(self._key(purpose)).encrypt(nonce, plaintext, _FORMAT)

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Decrypt.

        Raises:
            SealBrokenError: it was sealed elsewhere or for something else, or is damaged.
        """
        body = sealed[len(_FORMAT) :]
        try:
            return AESGCM(self._key(purpose)).decrypt(body[:_NONCE_BYTES], body[_NONCE_BYTES:], _FORMAT)
        except (InvalidTag, ValueError):
            raise SealBrokenError(
                Text(
                    "It was sealed on another machine or by another state, or was changed since.",
                    "Il a été scellé sur une autre machine ou par un autre état, ou modifié depuis.",
                )
            ) from None

    def _key(self, purpose: str) -> bytes:
        derivation = HKDF(
            hashes.SHA256(), length=32, salt=self._machine_id, info=b"cardd " + purpose.encode()
        )
        return derivation.derive(self._secret)


def open_sealer(state: Path, *, machine_id: bytes | None = None) -> Sealer:
    """Return the sealer of a state directory, made at the first call; blocks for up to seconds: call it in a thread.

    `machine_id` stands for this machine's own where it is given.

    Raises:
        SealBrokenError: its secret is there but cannot be read on this machine.
    """
    identifier = machine_id if machine_id is not None else read_machine_id()
    credential, key_file = state / _CREDENTIAL_FILE, state / _KEY_FILE
    if credential.is_file():
        return Sealer(_decrypted(credential), identifier, SecretKeeper.SYSTEMD_CREDS)
    if not key_file.is_file():
        secret = secrets.token_bytes(SECRET_BYTES)
        sealed = _encrypted(secret)
        if sealed is not None:
            write_secret(credential, sealed)
            return Sealer(secret, identifier, SecretKeeper.SYSTEMD_CREDS)
        write_secret(key_file, secret)
    try:
        return Sealer(key_file.read_bytes(), identifier, SecretKeeper.KEY_FILE)
    except (OSError, ValueError):
        raise _unreadable(key_file) from None


def open_shared_sealer(directory: Path) -> Sealer:
    """Return the sealer of a directory that several machines share; blocks: call it in a thread.

    Its secret is a file beside what it seals, so that it binds to the directory's readers and to no machine.

    Raises:
        SealBrokenError: its secret is there but cannot be read.
    """
    key_file = directory / _KEY_FILE
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not key_file.is_file():
        write_secret(key_file, secrets.token_bytes(SECRET_BYTES))
    try:
        return Sealer(key_file.read_bytes(), None, SecretKeeper.KEY_FILE)
    except (OSError, ValueError):
        raise _unreadable(key_file) from None


def read_machine_id() -> bytes | None:
    """Return this machine's identifier, None where it has none (`machine-id(5)`)."""
    for path in _MACHINE_ID_FILES:
        try:
            value = path.read_bytes().strip()
        except OSError:
            continue
        if len(value) == 32:
            return value
    return None


def write_secret(path: Path, content: bytes) -> None:
    """Put a file (0600) in place at once; it is safe on disk when this returns."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make renames and new entries of a directory safe on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _encrypted(secret: bytes) -> bytes | None:
    """Return the secret as a credential that is known to open again, None where systemd-creds does not do it."""
    sealed = _systemd_creds("encrypt", secret)
    if sealed is None or _systemd_creds("decrypt", sealed) != secret:
        return None
    return sealed


def _decrypted(credential: Path) -> bytes:
    try:
        secret = _systemd_creds("decrypt", credential.read_bytes())
    except OSError:
        secret = None
    if secret is None or len(secret) != SECRET_BYTES:
        raise _unreadable(credential)
    return secret


def _systemd_creds(action: str, given: bytes) -> bytes | None:
    tool = shutil.which("systemd-creds") if sys.platform == "linux" else None
    if tool is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 (a fixed command; the secret goes through its standard input)
            [tool, action, f"--name={_CREDENTIAL_NAME}", "-", "-"],
            input=given, capture_output=True, check=False, timeout=_CREDENTIAL_SECONDS,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 and done.stdout else None


def _unreadable(path: Path) -> SealBrokenError:
    return SealBrokenError(
        Text(
            f"The sealing secret in {path.name} cannot be read on this machine.",
            f"Le secret de scellement {path.name} est illisible sur cette machine.",
        )
    )
