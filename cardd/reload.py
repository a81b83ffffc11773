"""Settings read again while the daemon runs: what can change does, and what cannot is said."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from cardd.settings import Settings

#: Takes new settings up.
Taker = Callable[[Settings], Awaitable[None]]


class Reloaded(NamedTuple):
    """What became of changed settings, by their dotted names."""

    taken: tuple[str, ...]
    waiting: tuple[str, ...]
    """For the next start."""


class Reload:
    """Compares new settings with those in force, and hands them to who takes them up."""

    def __init__(self, settings: Settings, takers: Mapping[str, Taker]) -> None:
        """`takers` are by the dotted name of a setting, or of the section in which all are taken up."""
        self._settings = settings
        self._takers = takers

    async def take(self, new: Settings) -> Reloaded:
        """Take up what can change; the same settings again change nothing."""
        changed = [name for name in _values(new) if _values(new)[name] != _values(self._settings)[name]]
        owners = {name: self._owner(name) for name in changed}
        for owner in dict.fromkeys(filter(None, owners.values())):
            await self._takers[owner](new)
        taken = tuple(name for name in changed if owners[name])
        self._settings = _with(self._settings, new, taken)
        return Reloaded(taken, tuple(name for name in changed if not owners[name]))

    def _owner(self, name: str) -> str | None:
        section = name.partition(".")[0]
        return next((each for each in (name, section) if each in self._takers), None)


def _values(settings: Settings) -> dict[str, Any]:
    """Return every setting by its dotted name."""
    values: dict[str, Any] = {}
    for field in settings.__struct_fields__:
        value = getattr(settings, field)
        if isinstance(value, msgspec.Struct):
            values |= {f"{field}.{name}": getattr(value, name) for name in value.__struct_fields__}
        else:
            values[field] = value
    return values


def _with(settings: Settings, new: Settings, names: tuple[str, ...]) -> Settings:
    """Return settings with those named taken from the new ones."""
    for name in names:
        section, _, field = name.partition(".")
        if not field:
            settings = msgspec.structs.replace(settings, **{section: getattr(new, section)})
            continue
        value = getattr(getattr(new, section), field)
        changed = msgspec.structs.replace(getattr(settings, section), **{field: value})
        settings = msgspec.structs.replace(settings, **{section: changed})
    return settings
