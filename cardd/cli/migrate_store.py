"""`cardd migrate-store`: move the state from SQLite into the shared database."""

import click

from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note, print_json
from cardd.cli.startup import run_on_loop, shown_progress
from cardd.settings import SettingsError
from cardd.text import Text


@click.command("migrate-store", cls=Command)
@pass_options
def command(options: Options) -> None:
    """Move the state from SQLite into the empty PostgreSQL database that store.url names; stop the daemon first.

    What arrives is compared with what left before it counts. Cut short, it leaves everything as it was: run it again.
    """
    import msgspec  # noqa: PLC0415  with the database, which --help does without

    from cardd.store import SharedDatabase  # noqa: PLC0415
    from cardd.store.moving import move  # noqa: PLC0415

    settings = options.settings()
    target = SharedDatabase.of(settings.store)
    if target is None:
        raise SettingsError(
            Text(
                "store.url names no database to move to.",
                "store.url n’indique aucune base où transférer l’état.",
            )
        )
    with shown_progress() as progress:
        report = run_on_loop(move(settings.state, target, progress))
    if options.json:
        print_json(msgspec.to_builtins(report))
        return
    note(
        say(
            f"{report.rows} rows of {len(report.tables)} tables are in {report.database}, compared with what left. "
            "Start the daemon with the same settings.",
            f"{report.rows} lignes de {len(report.tables)} tables sont dans {report.database}, comparées au départ. "
            "Démarrez le démon avec la même configuration.",
        )
    )
