"""What is known of each PKCS#11 module: one TOML file a module, read into frozen data."""

import sys
import tomllib
from pathlib import Path
from typing import Literal

import msgspec

from cardd_pkcs11.errors import ModuleMissingError
from cardd_pkcs11.protocol import PinRules
from cardd_pkcs11.resources import resource_directory
from cardd_pkcs11.types import CustodyLevel

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


class ModuleProfile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One module: where it is, how many hosts it bears, and what must be known before using it."""

    name: str
    title: Title
    custody: CustodyLevel
    #: Where to look for the module, by platform, in order.
    paths: dict[Platform, tuple[str, ...]]
    #: What to install where it is missing, for the error that says so.
    package: str
    #: Hosts that may use the module at once; 1 for anything with one reader behind it.
    max_processes: int = 1
    #: Wrong PINs before a lock, as the daemon counts them where the token does not.
    max_pin_tries: int = 3
    pin: PinRules = PinRules()
    quirks: Quirks = Quirks()

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
