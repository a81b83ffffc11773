"""`cardd offers`: what can be ordered, and with which fields."""

import click

from cardd.cli.language import say, terminal_language
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import print_answer, print_table
from cardd.orders.types import OfferView


@click.command("offers", cls=Command)
@pass_options
def command(options: Options) -> None:
    """List offers, their usages and their fields (* required)."""
    answer = options.client().get("/offers")
    if options.json:
        print_answer(answer)
        return
    language = terminal_language()
    print_table(
        (
            say("offer", "offre"),
            "usage",
            say("meaning", "sens"),
            say("fields", "champs"),
            say("keys", "clés"),
        ),
        (
            (
                offer.offer,
                usage.usage,
                usage.label.in_language(language),
                [field.name + ("*" if field.required else "") for field in usage.fields],
                usage.algorithms,
            )
            for offer in answer.page(OfferView).items
            for usage in offer.usages
        ),
    )
