"""PINs of the tokens that the daemon holds itself: random, recorded sealed before use, never shown.

The vault is a directory (0700) outside the token directory. Each token has a directory named after its serial, with
both PINs sealed to this state and this machine (`cardd.custody.seal`). A copy of a token's directory, wherever it is
taken, opens nothing without them.

A token's serial is known only once it exists. So PINs are first recorded under the token's label, then the token is
initialised with them, then the record is renamed to the serial. What a crash leaves behind is told apart at the next
start: a record under a label whose token does not exist (made again), or does (it gets the recorded user PIN, again
perhaps, since not every module says whether it has one; then its record is renamed). No token of ours is ever without
its recorded PINs.

A user PIN may be exported, by the owner's act, for programs that want it in a file (RFC 7512, `pin-source`). When it
is withdrawn the token gets a new one, which is first recorded beside the old.
"""

import asyncio
import secrets
import shutil
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

import msgspec

from cardd.custody.errors import PinVaultError, token_errors_translated
from cardd.custody.seal import Sealer, open_sealer, sync_directory, write_secret
from cardd.text import Text
from cardd_pkcs11.operations import TokenPool
from cardd_pkcs11.types import Secret, TokenInfo, TokenSerial

#: 30 hexadecimal digits: OpenSSL's pkcs11 engine (libp11 0.4.12) reads at most 31 characters of a PIN file.
_PIN_BYTES = 15
_SEALED = "pins"
_NEXT = "pins.next"
_EXPORTED = "exported"
_PURPOSE = "token PINs"
_PENDING = "pending-"
_HELD = "token-"
_UNFINISHED = ".new-"


class TokenPins(NamedTuple):
    """Both PINs of one token."""

    user: Secret
    security_officer: Secret


class PinVault:
    """The records on disk. Every method is quick, synchronous file work: from a coroutine, call it in a thread."""

    def __init__(self, directory: Path, sealer: Sealer | None = None) -> None:
        """Open the vault; without a sealer, that of the directory's parent is used."""
        self._directory = directory
        self._given_sealer = sealer
        for path in (directory, directory / _EXPORTED):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.chmod(0o700)
        for left_over in directory.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left_over)

    @cached_property
    def sealer(self) -> Sealer:
        """What the PINs are sealed with."""
        return self._given_sealer or open_sealer(self._directory.parent)

    def create(self, label: str) -> TokenPins:
        """Record new random PINs under a token's label, before the token is initialised; safe on disk when it returns.

        A record of that label that was never assigned is kept and returned, because a token may exist with it.
        """
        record = self._pending(label)
        if not record.is_dir():
            unfinished = self._directory / f"{_UNFINISHED}{secrets.token_hex(8)}"
            unfinished.mkdir(mode=0o700)
            self._write(unfinished / _SEALED, TokenPins(_new_pin(), _new_pin()))
            unfinished.rename(record)
            sync_directory(self._directory)
        return self._pins(record)

    def assign(self, label: str, serial: TokenSerial) -> None:
        """Give a label's record to the token that now exists; nothing where that has been done."""
        record, held = self._pending(label), self._held(serial)
        if held.is_dir() and not record.is_dir():
            return
        record.rename(held)
        sync_directory(self._directory)

    def pending(self) -> tuple[str, ...]:
        """Return the labels whose record no token has been given."""
        return tuple(sorted(_name(path, _PENDING) for path in self._directory.glob(f"{_PENDING}*")))

    def serials(self) -> tuple[TokenSerial, ...]:
        """Return the tokens whose PINs are recorded."""
        return tuple(sorted(TokenSerial(_name(path, _HELD)) for path in self._directory.glob(f"{_HELD}*")))

    def read(self, serial: TokenSerial) -> Secret:
        """Return a token's user PIN.

        Raises:
            PinVaultError: none is recorded.
            SealBrokenError: it was sealed by another state or on another machine.
        """
        return self._pins(self._held(serial)).user

    def read_pins(self, serial: TokenSerial) -> TokenPins:
        """Return both PINs of a token; errors as for `read`."""
        return self._pins(self._held(serial))

    def binds(self, serial: TokenSerial) -> bool:
        """Tell whether a token opens on this machine only: its PIN is sealed to it, and not exported."""
        return (
            self.sealer.binds_machine and self._held(serial).is_dir() and not self._exported(serial).is_file()
        )

    def pin_file(self, serial: TokenSerial) -> Path | None:
        """Return the absolute path of the file with an exported user PIN alone, for RFC 7512's `pin-source`."""
        path = self._exported(serial)
        return path.absolute() if path.is_file() else None

    def export(self, serial: TokenSerial) -> Path:
        """Write a token's user PIN, and nothing else, into a file (0600); errors as for `read`."""
        path = self._exported(serial)
        write_secret(path, self.read(serial).reveal().encode("ascii"))
        return path.absolute()

    def withdraw(self, serial: TokenSerial) -> None:
        """Remove the file of an exported PIN, which stays known to whoever read it."""
        self._exported(serial).unlink(missing_ok=True)
        sync_directory(self._exported(serial).parent)

    def prepare_next(self, serial: TokenSerial) -> TokenPins:
        """Record the user PIN that a token is about to get; one that was prepared before stays."""
        held = self._held(serial)
        if not (held / _NEXT).is_file():
            self._write(held / _NEXT, TokenPins(_new_pin(), self._pins(held).security_officer))
        return self._pins(held, _NEXT)

    def take_next(self, serial: TokenSerial) -> None:
        """Make the prepared PIN the token's, which now has it."""
        held = self._held(serial)
        (held / _NEXT).replace(held / _SEALED)
        sync_directory(held)

    def changing(self) -> tuple[TokenSerial, ...]:
        """Return the tokens whose change of PIN was cut short."""
        return tuple(serial for serial in self.serials() if (self._held(serial) / _NEXT).is_file())

    def unsealed(self) -> dict[str, tuple[str, str]]:
        """Return both PINs of every record by the record's place in the vault, for an encrypted backup.

        Raises:
            SealBrokenError: one was sealed by another state or on another machine.
        """
        records = [path for path in self._directory.glob("*/*") if path.name in (_SEALED, _NEXT)]
        opened = ((path, self._pins(path.parent, path.name)) for path in sorted(records))
        return {
            str(path.relative_to(self._directory)): (pins.user.reveal(), pins.security_officer.reveal())
            for path, pins in opened
        }

    def reseal(self, records: Mapping[str, tuple[str, str]]) -> None:
        """Put back what `unsealed` returned elsewhere, sealed to this state and machine."""
        for place, (user, officer) in records.items():
            folder, _, name = place.partition("/")
            if not folder.startswith((_HELD, _PENDING)) or name not in (_SEALED, _NEXT):
                raise ValueError(f"{place!r} is no place of the vault")
            path = self._directory / folder / name
            path.parent.mkdir(mode=0o700, exist_ok=True)
            self._write(path, TokenPins(Secret(user), Secret(officer)))

    def _pending(self, label: str) -> Path:
        return self._directory / f"{_PENDING}{quote(label, safe='')}"

    def _held(self, serial: TokenSerial) -> Path:
        return self._directory / f"{_HELD}{quote(serial, safe='')}"

    def _exported(self, serial: TokenSerial) -> Path:
        return self._directory / _EXPORTED / f"{quote(serial, safe='')}.pin"

    def _write(self, path: Path, pins: TokenPins) -> None:
        plain = msgspec.json.encode([pin.reveal() for pin in pins])
        write_secret(path, self.sealer.seal(plain, _PURPOSE))

    def _pins(self, record: Path, name: str = _SEALED) -> TokenPins:
        try:
            sealed = (record / name).read_bytes()
        except OSError:
            raise PinVaultError(
                Text(
                    f"The record “{record.name}” is missing or unreadable.",
                    f"L’enregistrement « {record.name} » est absent ou illisible.",
                )
            ) from None
        user, officer = msgspec.json.decode(self.sealer.open(sealed, _PURPOSE), type=tuple[str, str])
        return TokenPins(Secret(user), Secret(officer))


async def make_token(pool: TokenPool, vault: PinVault, label: str) -> TokenSerial:
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


async def recover_tokens(pool: TokenPool, vault: PinVault) -> tuple[TokenSerial, ...]:
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
    pool: TokenPool, vault: PinVault, label: str, tokens: Iterable[TokenInfo]
) -> TokenSerial | None:
    held = frozenset(await asyncio.to_thread(vault.serials))
    ours = [token for token in tokens if token.label == label and token.serial not in held]
    if not ours:
        return None
    token = ours[0]
    pins = await asyncio.to_thread(vault.create, label)
    with token_errors_translated():
        await pool.init_pin(token.serial, pins.security_officer, pins.user)
    return await _hand_over(pool, vault, label, token.serial)


async def _hand_over(pool: TokenPool, vault: PinVault, label: str, serial: TokenSerial) -> TokenSerial:
    await asyncio.to_thread(vault.assign, label, serial)
    _keep_open(pool, vault, serial)
    return serial


def _keep_open(pool: TokenPool, vault: PinVault, serial: TokenSerial) -> None:
    pool.keep_open(serial, lambda: vault.read(serial))


def _new_pin() -> Secret:
    return Secret(secrets.token_hex(_PIN_BYTES))


def _name(path: Path, prefix: str) -> str:
    return unquote(path.name.removeprefix(prefix))
