"""`cardd tokens`: the tokens that hold keys, and how other programs reach them."""

import click
import msgspec

from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import print_answer, print_table
from cardd.custody.types import Quarantine


class TokenLine(msgspec.Struct, frozen=True, kw_only=True):
    """A token as the command shows it."""

    label: str
    serial: str
    level: str
    structure: str | None = None
    module_path: str
    pin_file: str | None = None
    quarantine: Quarantine | None = None


@click.command("tokens", cls=Command)
@pass_options
def command(options: Options) -> None:
    """List the tokens that hold keys: module, level of custody, file of an exported PIN, quarantine."""
    answer = options.client().get("/tokens")
    if options.json:
        print_answer(answer)
        return
    print_table(
        (
            say("label", "nom"),
            say("serial", "numéro"),
            say("custody", "garde"),
            "structure",
            "module",
            say("PIN file", "fichier du PIN"),
            say("quarantine", "quarantaine"),
        ),
        (
            (
                each.label,
                each.serial,
                each.level,
                each.structure,
                each.module_path,
                each.pin_file,
                _quarantine(each.quarantine),
            )
            for each in answer.page(TokenLine).items
        ),
    )


def _quarantine(quarantine: Quarantine | None) -> str | None:
    if quarantine is None:
        return None
    watched = ", ".join(quarantine.certificates) or say("no certificate", "aucun certificat")
    return f"{quarantine.reason.value} ({watched})"
