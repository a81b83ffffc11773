"""`cardd diagnose`: all that a maintainer needs to know, with or without a running daemon, and no secret."""

import platform
import ssl
import stat
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import msgspec

from cardd.cli.failures import failure_lines
from cardd.cli.machine import (
    Advice,
    clock_facts,
    driver_facts,
    module_facts,
    pcscd_facts,
    permission_facts,
    port_facts,
    programs,
)
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import cell, print_json
from cardd.cli.status import health_facts, read_health
from cardd.errors import CarddError
from cardd.settings import Settings

_PACKAGES = (
    "cardd",
    "aiohttp",
    "cryptography",
    "msgspec",
    "pkilint",
    "pyscard",
    "python-pkcs11",
    "sqlalchemy",
    "uvloop",
)
_STATE_ENTRIES = (".", "address", "token", "cardd.sqlite3", "softhsm", "pins", "run", "run/cardd.sock")


@click.command("diagnose", cls=Command)
@pass_options
def command(options: Options) -> None:
    """Print versions, paths, settings and the daemon's state; works without a daemon."""
    advice = Advice()
    settings = _attempt(lambda: _settings(options.settings()))
    report: dict[str, Any] = {"versions": _versions(), "programs": programs()}
    if "error" not in settings:
        known = options.settings()
        report |= {
            "pcscd": _attempt(lambda: pcscd_facts(known, advice)),
            "drivers": driver_facts(advice),
            "modules": _attempt(lambda: module_facts(known, advice)),
            "ports": port_facts(known),
            "clock": clock_facts(known, advice),
            "permissions": permission_facts(known, advice),
            "state": _state(known.state),
        }
    report |= {"settings": settings, "daemon": _attempt(lambda: _daemon(options))}
    report["advice"] = {str(number): line for number, line in enumerate(advice.sentences, 1)}
    if options.json:
        print_json(report)
        return
    for section, facts in report.items():
        click.echo(f"{section}:")
        for name, value in facts.items():
            click.echo(f"  {name}: {cell(value)}")


def _attempt(part: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return part()
    except CarddError as error:
        return {"error": failure_lines(error)[0]}


def _versions() -> dict[str, Any]:
    return {
        "system": platform.platform(),
        "python": f"{platform.python_version()} ({sys.executable})",
        "openssl": ssl.OPENSSL_VERSION,
        **{name: _version_of(name) for name in _PACKAGES},
    }


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _settings(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = msgspec.to_builtins(settings)
    return values


def _state(state: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in _STATE_ENTRIES:
        try:
            entry = (state / name).stat()
        except OSError as error:
            found[str(state / name)] = error.strerror
        else:
            found[str(state / name)] = f"{stat.filemode(entry.st_mode)} uid {entry.st_uid}"
    return found


def _daemon(options: Options) -> dict[str, Any]:
    client = options.client()
    return {
        **health_facts(client, read_health(client)),
        "readers": client.get("/readers").json(),
        "cards": [_card(card) for card in client.get("/cards").json()["items"]],
        "tokens": client.get("/tokens").json(),
    }


def _card(card: dict[str, Any]) -> dict[str, Any]:
    """Return what a maintainer needs of a card, without its holder."""
    return {name: card.get(name) for name in ("serial", "medium", "reader", "module", "pin", "environment")}
