"""`cardd cards`: the cards known to the daemon."""

import click

from cardd.cards.types import CardView
from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import print_answer, print_table


@click.command("cards", cls=Command)
@pass_options
def command(options: Options) -> None:
    """List the cards, present or not."""
    show_cards(options)


def show_cards(options: Options) -> None:
    """Print the list of cards."""
    answer = options.client().get("/cards")
    if options.json:
        print_answer(answer)
        return
    print_table(
        (
            say("serial", "numéro"),
            "type",
            say("holder", "porteur"),
            say("present", "présente"),
            "PIN",
            say("tries left", "essais restants"),
            say("opposed", "opposée"),
            say("opposes at", "opposition le"),
        ),
        (
            (
                card.serial,
                card.type,
                f"{card.holder.first_name} {card.holder.last_name}",
                card.present,
                card.pin.state,
                card.pin.tries_left,
                card.opposed,
                card.opposes_at,
            )
            for card in answer.page(CardView).items
        ),
        empty=say("No card.", "Aucune carte."),
    )
