"""What a copy path is tried on, what counts as a copy, and the report of what became of every attempt.

A key counts as copied where something other than its own token makes signatures that its public key verifies, or
where its private value is seen. Whether a copy was noticed is asked of a `Detector`.
"""

import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.types import CustodyLevel, KeyId, Spki, TokenSerial

_MESSAGE = b"signed by a copy"
_ALLOWED_SECONDS = 60.0


class Place(NamedTuple):
    """Where tools look for tokens: the directory of the token's files, or of all of them, and the environment."""

    tokens: Path
    environment: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Target(ABC):
    """A token that is attacked by somebody who may read its files and knows its PIN: the worst case."""

    #: State directory of the victim's daemon, whose registry knows the token.
    state: Path
    #: Where the attacker works; empty at first.
    workshop: Path
    label: str
    serial: TokenSerial
    pin: str
    rsa_id: KeyId
    rsa_spki: Spki
    ec_id: KeyId
    ec_spki: Spki

    #: Whether the same files with the same PIN are a copy: in a TPM, they are nothing without it.
    copies_sign: ClassVar[bool]

    @property
    @abstractmethod
    def module(self) -> str:
        """The module's path."""

    @property
    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The environment in which tools see the victim's token."""

    @property
    @abstractmethod
    def files(self) -> Path:
        """The directory of the token's files."""

    @abstractmethod
    def elsewhere(self, name: str) -> Place:
        """Return the place of that name, as on another machine; what is there stays."""

    @abstractmethod
    def opened(self, state: Path) -> AbstractAsyncContextManager[TokenHostPool]:
        """Open the victim's module for the victim's daemon."""

    def copied_to(self, place: Place) -> Path:
        """Copy the token's files to a place."""
        return Path(shutil.copytree(self.files, place.tokens / self.files.name, dirs_exist_ok=True))

    def run(
        self, *arguments: str | Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a tool, on the victim's token where no other environment is given."""
        return subprocess.run(
            [str(each) for each in arguments],
            env=environment if environment is not None else self.environment,
            cwd=self.workshop,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=_ALLOWED_SECONDS,
        )

    def signs(
        self, environment: Mapping[str, str], *, pin: str | None = None, label: str | None = None
    ) -> bool:
        """Tell whether the RSA key signs in another environment."""
        message, signature = self.workshop / "message", self.workshop / "signature"
        message.write_bytes(_MESSAGE)
        signature.unlink(missing_ok=True)
        self.run(
            "pkcs11-tool", "--module", self.module, "--token-label", label or self.label, "--login",
            "--pin", pin or self.pin, "--sign", "--mechanism", "SHA256-RSA-PKCS", "--id", self.rsa_id.hex(),
            "--input-file", message, "--output-file", signature, environment=environment,
        )  # fmt: skip
        return signature.is_file() and self._verifies(signature.read_bytes())

    def reveals(self, content: bytes) -> bool:
        """Tell whether bytes hold a prime of the RSA key in the clear."""
        modulus = self._rsa.public_numbers().n
        half = (modulus.bit_length() + 15) // 16
        numbers = (
            int.from_bytes(content[start : start + half], "big") for start in range(len(content) - half + 1)
        )
        return any(1 < number < modulus and modulus % number == 0 for number in numbers)

    @property
    def _rsa(self) -> rsa.RSAPublicKey:
        key = load_der_public_key(self.rsa_spki)
        assert isinstance(key, rsa.RSAPublicKey)
        return key

    def _verifies(self, signature: bytes) -> bool:
        try:
            self._rsa.verify(signature, _MESSAGE, PKCS1v15(), SHA256())
        except InvalidSignature:
            return False
        return True


class Became(NamedTuple):
    """What an attempt led to."""

    #: Something else than the token's own medium signs with the key, or its value was seen.
    copied: bool
    detail: str
    #: The files of the copy, which may meet the registry in the original's place.
    copy: Path | None = None
    #: The key was left as it was, but not what the token holds or says of it: its owner has to hear of that.
    changed: bool = False


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """A way in which a person would try to copy a key."""

    name: str
    tool: str
    take: Callable[[Target], Became]
    #: What a software token does not prevent, because it takes the files as a whole: it can only be noticed.
    prevented: bool = True

    @property
    def possible(self) -> bool:
        """Whether the tool is installed."""
        return self.tool in ("cp", "python-pkcs11") or shutil.which(self.tool) is not None


class Detector(Protocol):
    """Says how the daemon notices a copy."""

    def noticed(self, target: Target, became: Became) -> str | None:
        """Return what told of the copy or the change that an attempt just made, None where nothing did."""
        ...


class Unwatched:
    """Nobody looks: whatever is copied goes unnoticed."""

    def noticed(self, target: Target, became: Became) -> str | None:
        """Notice nothing."""


class Line(NamedTuple):
    """One line of the report."""

    attempt: Attempt
    became: Became
    noticed: str | None


def carried_out(
    attempts: Iterable[Attempt], fresh: Callable[[], Target], detector: Detector | None = None
) -> list[Line]:
    """Make every attempt that can be made here, each on a fresh target, and tell what became of it."""
    watching = detector or Unwatched()
    lines = []
    for attempt in attempts:
        if not attempt.possible:
            continue
        target = fresh()
        became = attempt.take(target)
        told = became.copied or became.changed
        lines.append(Line(attempt, became, watching.noticed(target, became) if told else None))
    return lines


def failures(lines: Iterable[Line], level: CustodyLevel) -> list[str]:
    """Return what must not be: any copy at level `hardware`, and what nobody noticed at any."""
    return [
        f"{line.attempt.tool}: {line.attempt.name}"
        for line in lines
        if (line.became.copied and level is CustodyLevel.HARDWARE)
        or ((line.became.copied or line.became.changed) and line.noticed is None)
    ]


def report(lines: Iterable[Line]) -> str:
    """Return the report, a line an attempt."""
    shown = []
    for attempt, became, noticed in lines:
        outcome = "COPIED" if became.copied else "CHANGED" if became.changed else "refused"
        if outcome != "refused":
            outcome += f", {noticed or 'unnoticed'}"
        shown.append(f"{attempt.tool:18} {attempt.name:58} {outcome:38} {became.detail}")
    return "\n".join(shown)
