"""`cardd habilitation …`: the administrative phase, from form F414 to the owner's decision."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import click

from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import print_answer, print_bytes, print_facts, print_history, print_more, print_table
from cardd.client import Answer, segment
from cardd.orders.types import HabilitationView, RefusalRequest

#: Form F414, filled in; `*` fields are required.
EXAMPLE_FORM = """\
# Form F414: test cards and authorisation for software certificates.
structure_name = "CENTRE HOSPITALIER DE TEST"
delivery_address = "1 RUE DE L'EXEMPLE"
postal_code = "75001"
town = "PARIS"
siret = "12345678200010"        # or siren, or finess

[recipient]
last_name = "MARTIN"
first_name = "CLAIRE"
function = "Intégratrice"
phone = "0102030405"
email = "claire.martin@example.org"

[[cards]]
type = "cps"
quantity = 1
use = "tests"

[[offers]]
offer = "ORG"
usages = ["AUTH_CLI", "SIGN"]   # left out: all of the offer's
use = "mutual TLS and signatures"
solution = "OUR PRODUCT"
"""


@click.group("habilitation", cls=Group)
def command() -> None:
    """Administrative phase: who may order what."""


@command.command("form")
def form() -> None:
    """Print a form as TOML, to be filled in and submitted."""
    print_bytes(EXAMPLE_FORM.encode())


@command.command("submit")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@pass_options
def submit(options: Options, *, file: str) -> None:
    """Submit the form in FILE: TOML or JSON, - for standard input (see `cardd habilitation form`)."""
    _print_one(options, options.client().post("/habilitations", _read_form(file)))


@command.command("list")
@page_options
@pass_options
def list_habilitations(options: Options, *, limit: int, cursor: str | None) -> None:
    """List the habilitations."""
    answer = options.client().get("/habilitations", {"limit": limit, "cursor": cursor})
    if options.json:
        print_answer(answer)
        return
    page = answer.page(HabilitationView)
    print_table(
        (
            "id",
            say("state", "état"),
            "structure",
            say("offers", "offres"),
            say("cards", "cartes"),
            say("submitted", "soumise"),
        ),
        (
            (
                each.id,
                each.state,
                each.form.structure_name,
                [offer.offer.value for offer in each.offers],
                each.cards,
                each.submitted_at,
            )
            for each in page.items
        ),
        empty=say("No habilitation.", "Aucune habilitation."),
    )
    print_more(page.next_cursor)


@command.command("show")
@click.argument("habilitation_id", metavar="ID")
@pass_options
def show(options: Options, *, habilitation_id: str) -> None:
    """Show a habilitation: structures, offers, cards, history."""
    _print_one(options, options.client().get(f"/habilitations/{segment(habilitation_id)}"))


@command.command("approve")
@click.argument("habilitation_id", metavar="ID")
@pass_options
def approve(options: Options, *, habilitation_id: str) -> None:
    """Approve a submitted habilitation."""
    _print_one(options, options.client().post(f"/habilitations/{segment(habilitation_id)}/approval"))


@command.command("refuse")
@click.argument("habilitation_id", metavar="ID")
@click.option("--reason", required=True, help="What the person who submitted it is told.")
@pass_options
def refuse(options: Options, *, habilitation_id: str, reason: str) -> None:
    """Refuse a submitted habilitation."""
    path = f"/habilitations/{segment(habilitation_id)}/refusal"
    _print_one(options, options.client().post(path, RefusalRequest(reason=reason)))


@command.command("withdraw")
@click.argument("habilitation_id", metavar="ID")
@pass_options
def withdraw(options: Options, *, habilitation_id: str) -> None:
    """Withdraw a habilitation: its cards no longer authorise anything by it."""
    _print_one(options, options.client().post(f"/habilitations/{segment(habilitation_id)}/withdrawal"))


def _read_form(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(say(f"{file} cannot be read.", f"{file} est illisible.")) from None
    try:
        form: Any = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        raise click.UsageError(
            say(
                f"{file} is neither JSON nor TOML: {error}.", f"{file} n’est ni du JSON ni du TOML : {error}."
            )
        ) from None
    return dict(form)


def _print_one(options: Options, answer: Answer) -> None:
    if options.json:
        print_answer(answer)
        return
    view = answer.decode(HabilitationView)
    print_facts(
        {
            "id": view.id,
            say("state", "état"): view.state,
            say("reason", "motif"): view.reason,
            "structures": [f"{each.id} {each.name}" for each in view.structures],
            say("offers", "offres"): [
                f"{each.offer.value} ({' '.join(usage.value for usage in each.usages)})"
                for each in view.offers
            ],
            say("cards", "cartes"): view.cards,
            say("submitted", "soumise"): view.submitted_at,
            say("decided", "décidée"): view.decided_at,
            say("withdrawn", "retirée"): view.withdrawn_at,
        }
    )
    if view.history:
        print_history(view.history)
