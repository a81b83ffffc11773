"""PINs of the tokens that the daemon holds itself: random, recorded before use, never shown.

The vault is a directory (0700) outside the token directory. Each token has a directory named after its serial, with
`user.pin` (0600: the PIN and nothing else, as RFC 7512's `pin-source` wants) and `so.pin`.

A token's serial is known only once it exists. So PINs are first recorded under the token's label, then the token is
initialised with them, then the record is renamed to the serial. What a crash leaves behind is told apart at the next
start: a record under a label whose token does not exist (made again), exists without a user PIN (finished), or exists
complete (its record is renamed). No token of ours is ever without its recorded PINs.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from cardd.custody.errors import PinVaultError, token_errors_translated
from cardd.text import Text
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import Secret, TokenInfo, TokenSerial

#: 30 hexadecimal digits: OpenSSL's pkcs11 engine (libp11 0.4.12) reads at most 31 characters of a PIN file.
_PIN_BYTES = 15
_USER = "user.pin"
_SECURITY_OFFICER = "so.pin"
_PENDING = "pending-"
_HELD = "token-"
_UNFINISHED = ".new-"


class TokenPins(NamedTuple):
    """Both PINs of one token."""

    user: Secret
    security_officer: Secret


class PinVault:
    """The records on disk. Every method is quick, synchronous file work: from a coroutine, call it in a thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        for left_over in directory.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left_over)

    def create(self, label: str) -> TokenPins:
        """Record new random PINs under a token's label, before the token is initialised; safe on disk when it returns.

        A record of that label that was never assigned is kept and returned, because a token may exist with it.
        """
        record = self._pending(label)
        if not record.is_dir():
            unfinished = self._directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
            unfinished.mkdir(mode=0o700)
            for name in (_USER, _SECURITY_OFFICER):
                _write(unfinished / name, secrets.token_hex(_PIN_BYTES))
            _sync_directory(unfinished)
            unfinished.rename(record)
            _sync_directory(self._directory)
        return self._pins(record)

    def assign(self, label: str, serial: TokenSerial) -> None:
        """Give a label's record to the token that now exists; nothing where that has been done."""
        record, held = self._pending(label), self._held(serial)
        if held.is_dir() and not record.is_dir():
            return
        record.rename(held)
        _sync_directory(self._directory)

    def pending(self) -> tuple[str, ...]:
        """Return the labels whose record no token has been given."""
        return tuple(sorted(_name(path, _PENDING) for path in self._directory.glob(f"{_PENDING}*")))

    def serials(self) -> tuple[TokenSerial, ...]:
        """Return the tokens whose PINs are recorded."""
        return tuple(sorted(TokenSerial(_name(path, _HELD)) for path in self._directory.glob(f"{_HELD}*")))

    def pin_file(self, serial: TokenSerial) -> Path:
        """Return the absolute path of the file with the user PIN alone, for RFC 7512's `pin-source`."""
        return (self._held(serial) / _USER).absolute()

    def read(self, serial: TokenSerial) -> Secret:
        """Return a token's user PIN.

        Raises:
            PinVaultError: none is recorded.
        """
        return self._pins(self._held(serial)).user

    def read_pins(self, serial: TokenSerial) -> TokenPins:
        """Return both PINs of a token.

        Raises:
            PinVaultError: none are recorded.
        """
        return self._pins(self._held(serial))

    def _pending(self, label: str) -> Path:
        return self._directory / f"{_PENDING}{quote(label, safe='')}"

    def _held(self, serial: TokenSerial) -> Path:
        return self._directory / f"{_HELD}{quote(serial, safe='')}"

    def _pins(self, record: Path) -> TokenPins:
        try:
            user, officer = ((record / name).read_text("ascii") for name in (_USER, _SECURITY_OFFICER))
        except (OSError, UnicodeDecodeError):
            raise PinVaultError(
                Text(
                    f"The record “{record.name}” is missing or unreadable.",
                    f"L’enregistrement « {record.name} » est absent ou illisible.",
                )
            ) from None
        return TokenPins(Secret(user), Secret(officer))


async def make_token(pool: TokenHostPool, vault: PinVault, label: str) -> TokenSerial:
    """Initialise a token of that label with recorded PINs, and keep it open in the pool.

    `label` names one token: where a crash left one half-made under it, that one is finished and returned.

    Raises:
        TokenFaultError: the module cannot.
    """
    if label in await asyncio.to_thread(vault.pending):
        with token_errors_translated():
            tokens = await pool.list_tokens(refresh=True)
        recovered = await _recover_one(pool, vault, label, tokens)
        if recovered is not None:
            return recovered
    pins = await asyncio.to_thread(vault.create, label)
    with token_errors_translated():
        token = await pool.init_token(label, pins.security_officer, pins.user)
    return await _hand_over(pool, vault, label, token.serial)


async def recover_tokens(pool: TokenHostPool, vault: PinVault) -> tuple[TokenSerial, ...]:
    """Finish what a crash left half-made, keep every recorded token open, and return those just finished.

    Raises:
        TokenFaultError: the module cannot be used.
    """
    with token_errors_translated():
        tokens = await pool.list_tokens(refresh=True)
    finished = [
        serial
        for label in await asyncio.to_thread(vault.pending)
        if (serial := await _recover_one(pool, vault, label, tokens)) is not None
    ]
    for serial in await asyncio.to_thread(vault.serials):
        _keep_open(pool, vault, serial)
    return tuple(finished)


async def _recover_one(
    pool: TokenHostPool, vault: PinVault, label: str, tokens: Iterable[TokenInfo]
) -> TokenSerial | None:
    held = frozenset(await asyncio.to_thread(vault.serials))
    ours = [token for token in tokens if token.label == label and token.serial not in held]
    if not ours:
        return None
    token = ours[0]
    if not token.user_pin.initialised:
        pins = await asyncio.to_thread(vault.create, label)
        with token_errors_translated():
            await pool.init_pin(token.serial, pins.security_officer, pins.user)
    return await _hand_over(pool, vault, label, token.serial)


async def _hand_over(pool: TokenHostPool, vault: PinVault, label: str, serial: TokenSerial) -> TokenSerial:
    await asyncio.to_thread(vault.assign, label, serial)
    _keep_open(pool, vault, serial)
    return serial


def _keep_open(pool: TokenHostPool, vault: PinVault, serial: TokenSerial) -> None:
    pool.keep_open(serial, lambda: vault.read(serial))


def _name(path: Path, prefix: str) -> str:
    return unquote(path.name.removeprefix(prefix))


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
