"""`cardd owner …`: the owner's token."""

import click

from cardd.cli.language import say
from cardd.cli.options import Group, Options, pass_options
from cardd.cli.output import note, print_json


@click.group("owner", cls=Group)
def command() -> None:
    """The owner's own token."""


@command.command("rotate-token")
@pass_options
def rotate_token(options: Options) -> None:
    """Replace the owner's token; the old one and the pages' sign-ins end at once.

    The new one is in the file `token` of the state directory. Applications keep their own tokens.
    """
    options.client().post("/owner/token-rotation")
    path = options.settings().state / "token"
    if options.json:
        print_json({"token_file": str(path)})
    else:
        note(say(f"The new token is in {path}.", f"Le nouveau jeton est dans {path}."))
