"""`cardd run`: the daemon in the foreground."""

import gc
import sys

import click

from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import print_json
from cardd.cli.startup import chosen_module, run_on_loop, shown_progress, token_module_option
from cardd.settings import Settings


@click.command("run", cls=Command)
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Loopback port of the web service; 0: any free one."
)
@token_module_option
@pass_options
def command(options: Options, *, port: int | None, token_module: str | None) -> None:
    """Run the daemon until it is interrupted; prints one line with its address when it is ready.

    Where there is no state yet, it is prepared first. Logs go to standard error.
    """

    # What is made until the daemon is ready lives as long as it: the collector would look through it time and again.
    gc.disable()
    from cardd import daemon  # noqa: PLC0415  all of the daemon; --help does without

    def ready(address: str) -> None:
        gc.freeze()
        gc.enable()
        if options.json:
            print_json({"address": address})
        else:
            click.echo(address)

    def settings() -> Settings:
        return options.settings(http_port=port, **chosen_module(token_module))

    with shown_progress() as progress:
        # On a terminal, SIGHUP is its end, and the daemon's; elsewhere it asks for the settings to be read again.
        again = None if sys.stdin.isatty() else settings
        run_on_loop(daemon.run(settings(), progress, ready, again))
