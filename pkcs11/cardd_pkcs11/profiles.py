"""What is known of each PKCS#11 module: one TOML file a module, read into frozen data."""

import re
import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from cardd_pkcs11.errors import ModuleMissingError
from cardd_pkcs11.protocol import PinRules
from cardd_pkcs11.resources import resource_directory
from cardd_pkcs11.types import CustodyLevel, TokenSerial

Platform = Literal["linux", "darwin", "win32"]


class Title(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name for people, in both languages."""

    en: str
    fr: str


class Quirks(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a module departs from the standard."""

    #: C_InitToken works through the module.
    initialises_tokens: bool = False
    #: The token itself counts wrong PINs and locks.
    counts_pin_tries: bool = True
    #: Mechanisms that the module lists but does not carry out.
    unavailable_mechanisms: tuple[str, ...] = ()
    #: What a key can do is asked with C_SignInit and C_DecryptInit: the slot's list is not the key's.
    probes_mechanisms: bool = False
    #: C_SetPIN changes the PIN only after a login.
    changes_pin_after_login: bool = False
    #: C_SetPIN without a login takes the PUK and unblocks, in a host of its own with its own configuration.
    unblocks_by_set_pin: bool = False
    #: Every token has the same serial; within a store, labels tell them apart.
    shares_serial: bool = False
    #: What a public key is for follows from its private key, and cannot be asked for.
    public_use_follows: bool = False
    #: Mechanisms with which a key signs only where it may decrypt, too.
    signing_needs_decrypt: tuple[str, ...] = ()
    #: A token opens with the device that made it only: C_Login fails with CKR_GENERAL_ERROR elsewhere.
    bound_to_device: bool = False
    #: Names the variable with the file beside the module's store, at which processes take turns (see `turns`).
    turns_beside: str | None = None


class CardSupport(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which cards in readers a module drives, and how they are told apart."""

    #: Generations of the family (see `cardd.readers.atr.CardGeneration`).
    generations: tuple[str, ...]
    #: Matches a token's serial; its first group is the card's, eight digits.
    serial: str
    #: Mechanisms of each role's key as tried: for advice only, what a key can do is asked for.
    signs: dict[str, tuple[str, ...]] = {}

    def card_serial(self, token: TokenSerial) -> str | None:
        """Return the card's serial, None where the token is no card of the family."""
        found = re.fullmatch(self.serial, token)
        return found[1] if found else None


class ModuleProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One module: where it is, how many hosts it bears, and what must be known before using it."""

    name: str
    title: Title
    custody: CustodyLevel
    #: Where to look for the module, by platform, in order.
    paths: dict[Platform, tuple[str, ...]]
    #: What to install where it is missing, for the error that says so.
    package: str
    #: Names of environment variables that its hosts inherit from the daemon.
    inherits: tuple[str, ...] = ()
    #: Hosts that may use the module at once; 1 for anything with one reader behind it.
    max_processes: int = 1
    #: Wrong PINs before a lock, as the daemon counts them where the token does not.
    max_pin_tries: int = 3
    pin: PinRules = PinRules()
    quirks: Quirks = Quirks()
    #: None for a module that drives no cards of the family.
    card: CardSupport | None = None

    def locate(self) -> Path:
        """Return the module's file on this machine.

        Raises:
            ModuleMissingError: it is at none of the known places.
        """
        candidates = tuple(
            path for name, paths in self.paths.items() if name == sys.platform for path in paths
        )
        for candidate in map(Path, candidates):
            if candidate.is_file():
                return candidate
        places = ", ".join(candidates) or f"no place known on {sys.platform}"
        raise ModuleMissingError(
            f"the module {self.name} is not installed ({places}); install {self.package}"
        )


@cache
def load_profile(name: str) -> ModuleProfile:
    """Read the profile of that name from those shipped.

    Raises:
        ModuleMissingError: there is none, or it is not valid.
    """
    path = resource_directory("profiles") / f"{name}.toml"
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), ModuleProfile)
    except FileNotFoundError:
        raise ModuleMissingError(f"no module profile is named {name}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise ModuleMissingError(f"the module profile {name} is not valid: {error}") from error


def profile_names() -> tuple[str, ...]:
    """Return the names of the profiles shipped, sorted."""
    return tuple(sorted(path.stem for path in resource_directory("profiles").glob("*.toml")))
