"""`cardd crl policy …`: what applications make of ageing lists."""

import click
import msgspec

from cardd.cli.language import say
from cardd.cli.options import Group, Options, pass_options
from cardd.cli.output import note, print_answer, print_facts, print_json, print_table
from cardd.client import segment
from cardd.revocation.types import Decision, PolicyRequest, PolicyView

_DECISIONS = click.Choice([each.value for each in Decision])


class _Policies(msgspec.Struct, frozen=True):
    items: tuple[PolicyView, ...]


@click.group("policy", cls=Group)
def command() -> None:
    """Say what applications make of ageing lists."""


@command.command("list")
@pass_options
def list_policies(options: Options) -> None:
    """List the freshness policies."""
    answer = options.client().get("/freshness-policies")
    if options.json:
        print_answer(answer)
        return
    print_table(
        (
            say("name", "nom"),
            say("stale", "en retard"),
            say("expired", "expirée"),
            say("hours", "heures"),
            say("origin", "origine"),
        ),
        (
            (each.name, each.stale, each.expired, each.expired_hours, _origin(each))
            for each in answer.decode(_Policies).items
        ),
    )


@command.command("set")
@click.argument("name")
@click.option(
    "--stale", type=_DECISIONS, default="warn", show_default=True, help="Of lists overdue for renewal."
)
@click.option("--expired", type=_DECISIONS, default="refuse", show_default=True, help="Of expired lists.")
@click.option(
    "--hours", type=click.IntRange(1, 24 * 366), help="How long after its end an expired list is taken."
)
@pass_options
def set_policy(options: Options, *, name: str, stale: str, expired: str, hours: int | None) -> None:
    """Store policy NAME; one named as an application is that application's wherever it names none."""
    body = PolicyRequest(stale=Decision(stale), expired=Decision(expired), expired_hours=hours)
    answer = options.client().put(f"/freshness-policies/{segment(name)}", body)
    if options.json:
        print_answer(answer)
        return
    view = answer.decode(PolicyView)
    print_facts(
        {
            say("name", "nom"): view.name,
            say("stale", "en retard"): view.stale,
            say("expired", "expirée"): view.expired,
            say("hours", "heures"): view.expired_hours,
        }
    )


@command.command("remove")
@click.argument("name")
@pass_options
def remove(options: Options, *, name: str) -> None:
    """Forget a stored policy; who had it gets the settings'."""
    options.client().delete(f"/freshness-policies/{segment(name)}")
    if options.json:
        print_json({"name": name, "removed": True})
    else:
        note(say(f"{name} is forgotten.", f"{name} est oubliée."))


def _origin(view: PolicyView) -> str:
    origin = say("built in", "intégrée") if view.built_in else say("stored", "enregistrée")
    return f"{origin}, {say('default', 'par défaut')}" if view.default else origin
