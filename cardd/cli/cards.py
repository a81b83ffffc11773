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


def holder_of(card: CardView) -> str | None:
    """Return first and last name of a card's holder, None where they could not be read."""
    return None if card.holder is None else f"{card.holder.first_name} {card.holder.last_name}"


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
            "PKI",
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
                holder_of(card),
                card.environment,
                card.present,
                None if card.pin is None else card.pin.state,
                None if card.pin is None else card.pin.tries_left,
                card.opposed,
                card.opposes_at,
            )
            for card in answer.page(CardView).items
        ),
        empty=say("No card.", "Aucune carte."),
    )
