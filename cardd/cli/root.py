"""The root command: finds a command's module only when it is called, and turns errors into one line."""

import os
import sys
from importlib import import_module
from importlib.metadata import version
from traceback import walk_tb
from typing import Any, NamedTuple, NoReturn

import click

from cardd.cli.exits import ExitCode, exit_code_of
from cardd.cli.failures import error_line, failure_lines
from cardd.cli.language import say
from cardd.cli.options import Group, shared_parameters
from cardd.errors import CarddError


class Entry(NamedTuple):
    """Where a command lives, and its line in the root's help."""

    module: str
    help: str


COMMANDS = {
    "init": Entry("init", "Prepare a state: PKI, test structure, authorised test card."),
    "run": Entry("run", "Run the daemon; prepares the state where there is none."),
    "status": Entry("status", "Show how the daemon is."),
    "open": Entry("open", "Open the pages in a browser, signed in."),
    "diagnose": Entry("diagnose", "Print all that a maintainer needs to know."),
    "readers": Entry("readers", "List the readers and the cards in them."),
    "cards": Entry("cards", "List the cards."),
    "card": Entry("card", "Work with one card."),
    "habilitation": Entry("habilitation", "Administrative phase: who may order what."),
    "offers": Entry("offers", "List offers, their usages and their fields."),
    "order": Entry("order", "Order a certificate."),
    "retrieve": Entry("retrieve", "Finish an order: the certificate is issued."),
    "track": Entry("track", "Show state and history of orders and certificates."),
    "certificate": Entry("certificate", "List, show and download certificates."),
    "revoke": Entry("revoke", "Revoke a certificate, for ever."),
    "renew": Entry("renew", "Order the successor of a certificate."),
    "virtual-card": Entry("virtual_card", "Run a virtual card without a daemon, for CI."),
    "crl": Entry("crl", "Keep revocation lists, and ask whether a certificate is revoked."),
    "verify": Entry("verify", "Validate a certificate: path, revocation, which PKI it is of."),
    "trust": Entry("trust", "Show who is trusted, or write the bundle for an application."),
    "tokens": Entry("tokens", "List the tokens that hold keys."),
    "token": Entry("token", "Export a token's PIN; decide about a copy of it."),
    "key": Entry("key", "Where the keys are, what was found of them, and the evidence."),
    "pair": Entry("pair", "Applications that ask to be let in: allow or deny."),
    "apps": Entry("apps", "Applications that were let in: list, rename, revoke."),
    "consent": Entry("consent", "Applications that want to use a card's key: agree or refuse."),
    "tls": Entry("tls", "Show the certificate authority of the daemon's TLS."),
    "owner": Entry("owner", "Replace the owner's token."),
    "migrate-store": Entry("migrate_store", "Move the state into a database that machines share."),
    "machine": Entry("machines", "List and enrol the machines that share a database."),
    "audit": Entry("audit", "Read and verify the journal."),
    "config": Entry("config", "Check the settings, and show those in force."),
    "backup": Entry("backup", "Make an encrypted backup of the whole state."),
    "restore": Entry("restore", "Put a backup into an empty state directory."),
    "events": Entry("events", "Follow what happens."),
}


class Root(Group):
    """Lists every command without importing it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  the name is click's
        """Return the names in the order in which they are met."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the module of a command and return the command."""
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        found: click.Command = import_module(f"cardd.cli.{entry.module}").command
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


def _print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001  click calls it: FBT001
    if value:
        click.echo(f"cardd {version('cardd')}")
        context.exit()


root = Root(
    "cardd",
    help="Test cards and test certificates of a health PKI on this machine.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
root.params[:] = [
    *shared_parameters(environment=True),
    click.Option(
        ["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_print_version,
        help="Print the version.",
    ),
]


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line; errors become one line on standard error and an exit code."""
    sys.exit(run_command(arguments))


def run_command(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code; never raises."""
    try:
        code: Any = root.main(args=arguments, prog_name="cardd", standalone_mode=False)
    except BrokenPipeError:
        # Who read the output has seen enough; nothing must be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return ExitCode.USAGE
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  the last line of defence against a traceback
        code, lines = _explained(error)
        for line in lines:
            click.echo(line, err=True)
    return code if isinstance(code, int) else ExitCode.OK


def _explained(error: BaseException) -> tuple[ExitCode, list[str]]:
    match error:
        case CarddError():
            return exit_code_of(error), failure_lines(error)
        case click.ClickException():
            context = getattr(error, "ctx", None)
            advice = say("see", "voir") + f" `{context.command_path} --help`" if context is not None else ""
            return ExitCode.USAGE, [error_line(error.format_message(), advice)]
        case click.Abort() | KeyboardInterrupt():
            return ExitCode.INTERRUPTED, [say("interrupted", "interrompu")]
        case _:
            sentence = (
                say("unexpected failure", "échec inattendu") + f" ({type(error).__name__}, {_place(error)})"
            )
            advice = say("report it with what `cardd diagnose` prints", "signalez-le avec « cardd diagnose »")
            return ExitCode.FAILED, [error_line(sentence, advice)]


def _place(error: BaseException) -> str:
    """Name module and line of the project that failed; the message is left out, since it may hold a secret."""
    frames = list(walk_tb(error.__traceback__))
    ours = [each for each in frames if each[0].f_globals.get("__name__", "").startswith("cardd")] or frames
    frame, line = ours[-1]
    return f"{frame.f_globals.get('__name__', '?')}:{line}"
