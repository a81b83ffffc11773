"""`cardd status`: how the daemon is."""

import http.client
from datetime import datetime
from typing import Literal

import click
import msgspec

from cardd.cli.exits import ExitCode
from cardd.cli.language import say, terminal_language
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import print_facts, print_json
from cardd.client import Client
from cardd.text import Text

_WELL_OR_NOT = frozenset({int(http.client.SERVICE_UNAVAILABLE)})


class HealthPart(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the daemon and whether it answers."""

    name: str
    ok: bool
    detail: Text | None = None


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is wrong, and since when."""

    kind: str
    subject: str
    detail: Text
    raised_at: datetime


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """How the daemon says it is."""

    status: Literal["ok", "failing"]
    version: str | None = None
    parts: tuple[HealthPart, ...] = ()
    alerts: tuple[Alert, ...] = ()


@click.command("status", cls=Command)
@pass_options
def command(options: Options) -> int:
    """Show whether the daemon is well; exit code 6 when it says it is not."""
    client = options.client()
    health = read_health(client)
    if options.json:
        print_json({"address": client.address, "health": health})
    else:
        print_facts(health_facts(client, health))
    return ExitCode.OK if health.status == "ok" else ExitCode.CHECK_FAILED


def read_health(client: Client) -> Health:
    """Return what the daemon says of itself; 503 is an answer, not an error."""
    return client.get("/health", welcome=_WELL_OR_NOT).decode(Health)


def health_facts(client: Client, health: Health) -> dict[str, object]:
    """Return the daemon's health by name, as people are shown it."""
    language = terminal_language()
    parts = {
        part.name: "ok"
        if part.ok
        else say("failing", "en panne") + (f": {part.detail.in_language(language)}" if part.detail else "")
        for part in health.parts
    }
    return {
        say("state", "état"): say("running", "en marche")
        if health.status == "ok"
        else say("running, not well", "en marche, dégradé"),
        say("address", "adresse"): client.address,
        "version": health.version,
        **parts,
        say("alerts", "alertes"): [alert.detail.in_language(language) for alert in health.alerts],
    }
