"""`cardd consent …`: questions to the holder of a card whose key an application wants to use."""

import click

from cardd.applications.types import ConsentView
from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import note, print_answer, print_json, print_more, print_table
from cardd.client import segment


@click.group("consent", cls=Group)
def command() -> None:
    """Applications that want to use a card's key: agree or refuse, for the length of the card session."""


@command.command("list")
@page_options
@pass_options
def list_consents(options: Options, *, limit: int, cursor: str | None) -> None:
    """List the questions that wait for the holder."""
    answer = options.client().get("/consents", {"limit": limit, "cursor": cursor})
    if options.json:
        print_answer(answer)
        return
    page = answer.page(ConsentView)
    print_table(
        (
            "id",
            "application",
            say("origin", "origine"),
            say("card", "carte"),
            say("wants to", "veut"),
            say("key", "clé"),
            say("mechanism", "mécanisme"),
            say("until", "jusqu’à"),
        ),
        (
            (
                each.id, each.name, each.origin, each.card, each.use.operation, each.use.role,
                each.use.mechanism, each.expires_at,
            )
            for each in page.items
        ),
        empty=say("No question waits.", "Aucune question n’attend."),
    )  # fmt: skip
    print_more(page.next_cursor)


@command.command("allow")
@click.argument("consent_id", metavar="ID")
@pass_options
def allow(options: Options, *, consent_id: str) -> None:
    """Agree to what is asked, until the card session ends."""
    options.client().post(f"/consents/{segment(consent_id)}/approval")
    _say_done(options, "allowed", consent_id, say("Agreed.", "Accepté."))


@command.command("deny")
@click.argument("consent_id", metavar="ID")
@pass_options
def deny(options: Options, *, consent_id: str) -> None:
    """Refuse what is asked, until the card session ends."""
    options.client().post(f"/consents/{segment(consent_id)}/denial")
    _say_done(options, "denied", consent_id, say("Refused.", "Refusé."))


def _say_done(options: Options, outcome: str, consent_id: str, sentence: str) -> None:
    if options.json:
        print_json({outcome: consent_id})
    else:
        note(sentence)
