"""The PKCS#11 modules that drive cards in readers: which are here, which are missing, and a host for each."""

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from cardd.readers import CardGeneration
from cardd.text import Text
from cardd_pkcs11.client import TokenHost
from cardd_pkcs11.errors import MechanismUnavailableError, ModuleMissingError
from cardd_pkcs11.opensc import write_opensc_config
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.profiles import ModuleProfile, load_profile, profile_names
from cardd_pkcs11.types import Secret, TokenSerial

#: Which pcscd libpcsclite speaks to; read once by each process.
_SOCKET_VARIABLE: Final = "PCSCLITE_CSOCK_NAME"


class MissingModule(NamedTuple):
    """A module that the settings name and this machine does not have."""

    name: str
    reason: Text


class CardModule:
    """One module, driven through one host: a card bears one program at a time."""

    def __init__(
        self,
        profile: ModuleProfile,
        path: Path,
        environment: Mapping[str, str],
        unblocking: Mapping[str, str],
    ) -> None:
        self.profile = profile
        self.path = path
        self.pool = TokenHostPool(profile, 1, environment, module_path=path)
        self._unblocking = dict(unblocking)

    @property
    def name(self) -> str:
        """The profile's name."""
        return self.profile.name

    def drives(self, generation: CardGeneration) -> bool:
        """Tell whether cards of a generation are driven."""
        return self.profile.card is not None and generation.value in self.profile.card.generations

    def card_serial(self, token: TokenSerial) -> str | None:
        """Return the serial of the card that a token is, None where it is none of the family."""
        return None if self.profile.card is None else self.profile.card.card_serial(token)

    async def unblock(self, token: TokenSerial, puk: Secret, new: Secret) -> None:
        """Unblock a PIN in a host of its own: it is configured for that alone, and OpenSC may not survive it.

        Raises:
            MechanismUnavailableError: the module offers no way known here.
            TokenError: as the host says.
        """
        if not self.profile.quirks.unblocks_by_set_pin:
            raise MechanismUnavailableError(f"{self.name} cannot unblock a PIN")
        host = TokenHost(self.profile, self._unblocking, module_path=self.path)
        try:
            await host.list_tokens()
            await host.unblock(token, puk, new)
        finally:
            await asyncio.shield(asyncio.ensure_future(host.close()))


class CardModules:
    """The modules for cards, in order of preference. Close it when done; hosts are started when first needed."""

    def __init__(
        self, names: Sequence[str], directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        """Look for the modules; their configuration lies in `directory`.

        `environment` is what clients of pcscd need; by default what this process itself has of it.
        """
        inherited = {name: os.environ[name] for name in (_SOCKET_VARIABLE,) if name in os.environ}
        self._environment = {**inherited, **(environment or {}), "HOME": str(directory)}
        self._directory = directory
        self.available: tuple[CardModule, ...] = ()
        self.missing: tuple[MissingModule, ...] = ()
        for name in names:
            self._look_for(name)

    def driving(self, generation: CardGeneration) -> tuple[CardModule, ...]:
        """Return the modules here that drive cards of a generation, the preferred one first."""
        return tuple(module for module in self.available if module.drives(generation))

    async def close(self) -> None:
        """End every host."""
        await asyncio.gather(*(module.pool.close() for module in self.available))

    def _look_for(self, name: str) -> None:
        try:
            profile = load_profile(name)
            path = profile.locate()
        except ModuleMissingError as error:
            self.missing = (*self.missing, MissingModule(name, _missing(name, error.message)))
            return
        environments = [
            {
                **self._environment,
                "OPENSC_CONF": str(write_opensc_config(self._directory, unblocking=unblocking)),
            }
            for unblocking in (False, True)
        ]
        self.available = (*self.available, CardModule(profile, path, *environments))


def card_modules_named(setting: str) -> tuple[str, ...]:
    """Parse the names of profiles in a setting, separated by commas."""
    return tuple(dict.fromkeys(name.strip() for name in setting.split(",") if name.strip()))


def modules_that_could(role: str, mechanism: str, *, other_than: str) -> tuple[str, ...]:
    """Return the names of the profiles whose module was seen to do something with a card's key; advice only."""
    return tuple(name for name in _card_profiles() if name != other_than and mechanism in _signs(name, role))


def _card_profiles() -> Iterable[str]:
    return (name for name in profile_names() if load_profile(name).card is not None)


def _signs(name: str, role: str) -> tuple[str, ...]:
    card = load_profile(name).card
    return () if card is None else card.signs.get(role, ())


def _missing(name: str, technical: str) -> Text:
    return Text(
        f"The PKCS#11 module {name} is not here: {technical}.",
        f"Le module PKCS#11 {name} est absent : {technical}.",
    )
