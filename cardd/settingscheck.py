"""What is wrong with settings beyond their form: files that are not there, secrets that others can read."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from cardd.backup.archive import read_recipients
from cardd.cards.modules import card_modules_named
from cardd.custody.media import SOFTHSM
from cardd.errors import CarddError
from cardd.outgoing.routes import Routes
from cardd.revocation.configured import configured_sources
from cardd.settings import Settings, split
from cardd.text import Text
from cardd_pkcs11.errors import TokenError
from cardd_pkcs11.profiles import load_profile, profile_names


class Problem(NamedTuple):
    """A setting, and what is wrong with it."""

    setting: str
    problem: Text


def problems(settings: Settings) -> list[Problem]:
    """Check everything that a start would need, and change nothing."""
    return [
        *_failure("tokens.module", lambda: load_profile(settings.tokens.module or SOFTHSM).locate()),
        *_card_modules(settings),
        *_failure("revocation", lambda: configured_sources(settings.revocation)),
        *_failure("backup.recipients", lambda: read_recipients(settings.backup.named_recipients)),
        *_failure("webhooks", lambda: Routes.from_settings(settings)),
        *_secret("webhooks.secret_file", settings.webhooks.secret_file),
        *_secret("smtp.password_file", settings.smtp.password_file),
        *_backups(settings),
        *_mails(settings),
    ]


def _card_modules(settings: Settings) -> Iterator[Problem]:
    """Name what no profile is called; a module that is known and not installed only drives no cards."""
    known = profile_names()
    for name in card_modules_named(settings.cards.modules):
        if name not in known:
            among = ", ".join(sorted(known))
            yield Problem(
                "cards.modules", Text(f"{name} is none of {among}", f"{name} n’est aucun de {among}")
            )


def _failure(setting: str, attempt: Callable[[], object]) -> Iterator[Problem]:
    try:
        attempt()
    except CarddError as error:
        yield Problem(setting, error.detail)
    except TokenError as error:
        yield Problem(setting, Text(error.message, error.message))


def _secret(setting: str, name: str) -> Iterator[Problem]:
    if not name:
        return
    try:
        mode = Path(name).stat().st_mode
    except OSError as error:
        reason = error.strerror or type(error).__name__
        yield Problem(setting, Text(f"{name} cannot be read: {reason}", f"{name} est illisible : {reason}"))
        return
    if stat.S_IMODE(mode) & 0o077:
        yield Problem(
            setting,
            Text(
                f"{name} is open to others (mode {stat.S_IMODE(mode):04o}); make it 0600",
                f"{name} est ouvert à d’autres (mode {stat.S_IMODE(mode):04o}) ; mettez-le à 0600",
            ),
        )


def _backups(settings: Settings) -> Iterator[Problem]:
    if settings.backup.every_hours and not settings.backup.named_recipients:
        yield Problem(
            "backup.every_hours",
            Text(
                "no backup is made, for backup.recipients names nobody",
                "aucune sauvegarde n’est faite, car backup.recipients ne nomme personne",
            ),
        )


def _mails(settings: Settings) -> Iterator[Problem]:
    if split(settings.alerts.emails) and not settings.smtp.host:
        yield Problem(
            "alerts.emails",
            Text(
                "nothing is sent, for smtp.host names no mail server",
                "rien n’est envoyé, car smtp.host ne nomme aucun serveur",
            ),
        )
