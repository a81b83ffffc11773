"""`cardd crl export`: the lists as files, once or for as long as it runs."""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from cardd.cli.crlfiles import Exported, export_all
from cardd.cli.language import say, terminal_language
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note, print_json
from cardd.client import Client, DaemonUnreachableError, ProblemError
from cardd.errors import CarddError
from cardd.events import EventType
from cardd.text import Text


class CommandFailedError(CarddError):
    """The command of `--run` did not succeed; the files are written."""

    code = "command_failed"
    status = 500
    title = Text("The command failed", "La commande a échoué")
    default_advice = Text(
        "The files are current all the same; run the command by hand.",
        "Les fichiers sont à jour malgré tout ; exécutez la commande à la main.",
    )


#: What changes the files.
_CHANGES = frozenset({EventType.CRL_UPDATED, EventType.CRL_REMOVED})


@click.command("export", cls=Command)
@click.argument("directory", type=click.Path(file_okay=False))
@click.option("--watch", is_flag=True, help="Stay, and bring the files up to date as soon as a list changes.")
@click.option(
    "--every",
    type=click.IntRange(1, 24 * 3600),
    default=10,
    show_default=True,
    help="With --watch: seconds between two tries while no daemon answers.",
)
@click.option("--run", "then", help="Command to run after files have changed, such as 'nginx -s reload'.")
@pass_options
def command(options: Options, *, directory: str, watch: bool, every: int, then: str | None) -> None:
    """Write the lists into DIRECTORY, for programs that read files.

    Each as DER (NAME.crl) and as PEM under OpenSSL's hashed name (HASH.r0), and all in one PEM file (crls.pem).
    """
    target = Path(directory)
    if not watch:
        _told(options, target, export_all(options.client(), target), then, quiet=False)
        return
    for client in _moments(options.client, every):
        _told(options, target, export_all(client, target), then, quiet=True)


def _moments(connect: Callable[[], Client], every: int) -> Iterator[Client]:
    """Yield the daemon whenever its lists may have changed: when it is first reached, and after every change.

    The event stream is open before the first look, so that no change falls between the two. When it breaks off, it
    is opened again and everything is looked at anew.
    """
    told = False
    while True:
        try:
            client = connect()
            stream = client.events()
            told = False
            yield client
            for event in stream:
                if event.type in _CHANGES:
                    yield client
        except (DaemonUnreachableError, ProblemError) as error:
            if isinstance(error, ProblemError) and error.http_status < 500:
                raise
            if not told:
                note(error.detail.in_language(terminal_language()))
                told = True
            time.sleep(every)


def _told(options: Options, target: Path, done: Exported, then: str | None, *, quiet: bool) -> None:
    """Run what is to be run after a change, then say what was done."""
    changed = bool(done.written or done.removed)
    failed = _run(then) if changed and then is not None else None
    if options.json and (changed or not quiet):
        print_json({"directory": os.fspath(target), "written": done.written, "removed": done.removed})
    elif changed or not quiet:
        count = sum(name.endswith(".crl") for name in done.written)
        note(
            say(
                f"{target}: {count} lists written, {len(done.removed)} files removed.",
                f"{target} : {count} listes écrites, {len(done.removed)} fichiers supprimés.",
            )
        )
    if failed is not None and not quiet:
        raise failed
    if failed is not None:
        note(failed.detail.in_language(terminal_language()))


def _run(command: str) -> CommandFailedError | None:
    """Run the user's command; its output goes to standard error. Return what is wrong with it, if anything is."""
    try:
        subprocess.run(shlex.split(command), check=True, stdout=sys.stderr)  # noqa: S603 (the user's own)
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        reason = str(error)
        return CommandFailedError(Text(f"“{command}” failed: {reason}", f"« {command} » a échoué : {reason}"))
    return None
