"""Which events go where, by the settings."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from cardd.outgoing.signing import SigningSecret, read_secret
from cardd.settings import Settings, SettingsError, split
from cardd.text import Text

#: What goes by e-mail.
ALERTS = ("alert.*",)
MAIL = "mailto:"
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class Routes(NamedTuple):
    """Where events go: the patterns of types by target."""

    targets: dict[str, tuple[str, ...]]
    secret: SigningSecret | None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read the routes, and the signing secret from its file; raises `SettingsError`."""
        hooks = split(settings.webhooks.urls)
        for url in hooks:
            _check(url)
        if hooks and not settings.webhooks.secret_file:
            raise SettingsError(
                Text(
                    "webhooks.secret_file: needed, since webhooks are signed.",
                    "webhooks.secret_file : nécessaire, car les webhooks sont signés.",
                )
            )
        targets = dict.fromkeys(hooks, split(settings.webhooks.events))
        if settings.smtp.host:
            targets |= dict.fromkeys((MAIL + each for each in split(settings.alerts.emails)), ALERTS)
        return cls(targets, read_secret(Path(settings.webhooks.secret_file)) if hooks else None)

    def wants(self, target: str, event_type: str) -> bool:
        """Tell whether a target gets events of a type."""
        return any(fnmatchcase(event_type, pattern) for pattern in self.targets[target])


def _check(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and parts.hostname in _LOOPBACK:
        return
    raise SettingsError(
        Text(
            f"webhooks.urls: {url} is neither https nor http on this machine.",
            f"webhooks.urls : {url} n’est ni en https, ni en http sur cette machine.",
        )
    )
