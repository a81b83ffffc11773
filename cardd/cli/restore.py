"""`cardd restore`: the way back from a backup, into an empty state directory."""

from datetime import timedelta
from pathlib import Path

import click

from cardd.cli.language import say, terminal_language
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note, print_facts, print_json


@click.command("restore", cls=Command)
@click.argument("backup", type=click.Path(dir_okay=False))
@click.option(
    "--identity",
    type=click.Path(dir_okay=False),
    required=True,
    help="File with the identity of a recipient: age's, or an SSH private key without passphrase.",
)
@pass_options
def command(options: Options, *, backup: str, identity: str) -> None:
    """Restore BACKUP into the state directory, which must be empty, on this machine or another.

    With the setting store.url its rows go into that PostgreSQL database, which must be empty too.

    PINs are sealed to this machine. Stop the daemon that the backup is of for good: a state must not run twice.
    """
    from cardd.backup.restoring import Place, restore  # noqa: PLC0415  slow to import, and rarely needed
    from cardd.clock import SystemClock  # noqa: PLC0415
    from cardd.store import SharedDatabase  # noqa: PLC0415
    from cardd_pkcs11.hardening import forbid_core_dumps  # noqa: PLC0415

    forbid_core_dumps()
    settings = options.settings()
    clock = SystemClock(timedelta(days=settings.clock_offset_days))
    place = Place(state=settings.state, database=SharedDatabase.of(settings.store))
    report = restore(Path(backup), Path(identity), place, clock)
    if options.json:
        print_json(report)
        return
    print_facts(
        {
            say("restored into", "restaurée dans"): report.state_dir,
            say("database", "base de données"): report.database,
            say("state of", "état du"): report.made_at,
            say("files", "fichiers"): report.files,
            say("lines of the journal", "lignes du journal"): report.journal_lines,
        }
    )
    for token in report.tokens:
        if not token.included:
            note(f"{token.label}: {token.note.in_language(terminal_language())}")
    for sentence in report.left_out:
        note(sentence.in_language(terminal_language()))
    note(
        say(
            "What was done after the backup is not in it: revoke again what was revoked since. "
            f"Start the daemon with: cardd run --state-dir {report.state_dir}",
            "Ce qui a été fait après la sauvegarde n’y est pas : révoquez de nouveau ce qui l’a été depuis. "
            f"Démarrez le démon par : cardd run --state-dir {report.state_dir}",
        )
    )
