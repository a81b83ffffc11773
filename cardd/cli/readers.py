"""`cardd readers`: the readers and what is in them."""

import click

from cardd.cards.types import ReaderView
from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import print_answer, print_table


@click.command("readers", cls=Command)
@pass_options
def command(options: Options) -> None:
    """List the readers and the cards in them."""
    answer = options.client().get("/readers")
    if options.json:
        print_answer(answer)
        return
    print_table(
        (say("reader", "lecteur"), say("state", "état"), say("card", "carte")),
        ((reader.name, reader.state, reader.card) for reader in answer.page(ReaderView).items),
        empty=say("No reader.", "Aucun lecteur."),
    )
