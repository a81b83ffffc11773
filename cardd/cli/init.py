"""`cardd init`: prepare a state that `cardd run` starts from."""

import click

from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note, print_json
from cardd.cli.startup import chosen_module, run_on_loop, shown_progress, token_module_option


@click.command("init", cls=Command)
@token_module_option
@pass_options
def command(options: Options, *, token_module: str | None) -> None:
    """Prepare a state: the test PKI, one structure, one authorised test card, inserted, with PIN 1234.

    What is there already is kept: a second run only adds what is missing.
    """
    from cardd import daemon  # noqa: PLC0415  all of the daemon; --help does without

    settings = options.settings(**chosen_module(token_module))
    with shown_progress() as progress:
        run_on_loop(daemon.prepare(settings, progress))
    if options.json:
        print_json({"state_dir": settings.state_dir})
        return
    note(
        say(
            f"Ready in {settings.state_dir}. Start the daemon with: cardd run --state-dir {settings.state_dir}",
            f"Prêt dans {settings.state_dir}. Démarrez le démon par : cardd run --state-dir {settings.state_dir}",
        )
    )
