"""`cardd readers`: the readers and what is in them, once or as it changes."""

import click

from cardd.cards.types import ReaderView
from cardd.cli.events import followed
from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import cell, print_answer, print_table
from cardd.client import Client

#: Events after which the readers are shown again.
_CHANGES = ("reader.", "card.inserted", "card.read", "card.removed")


@click.command("readers", cls=Command)
@click.option("--watch", is_flag=True, help="Show the readers again at each change, until interrupted.")
@click.option("--count", type=click.IntRange(1), help="With --watch, stop after so many changes.")
@pass_options
def command(options: Options, *, watch: bool, count: int | None) -> None:
    """List the readers and the cards in them."""
    if not watch:
        _show(options, options.client())
        return
    client = options.client()
    _show(options, client)
    left = count
    for event in followed(client):
        if not event.type.startswith(_CHANGES):
            continue
        if options.json:
            click.echo(event.data)
        else:
            click.echo(f"-- {cell(event.type)}")
            _show(options, client)
        if left is not None:
            left -= 1
            if left == 0:
                return


def _show(options: Options, client: Client) -> None:
    answer = client.get("/readers")
    if options.json:
        print_answer(answer)
        return
    print_table(
        (
            say("reader", "lecteur"),
            say("state", "état"),
            say("card", "carte"),
            say("generation", "génération"),
            "ATR",
        ),
        (
            (reader.name, reader.state, reader.card, reader.generation, reader.atr)
            for reader in answer.page(ReaderView).items
        ),
        empty=say("No reader.", "Aucun lecteur."),
    )
