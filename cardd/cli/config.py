"""`cardd config …`: the settings in force, and whether they hold, before a daemon is started with them."""

from pathlib import Path

import click
import msgspec
import tomli_w

from cardd.cli.exits import ExitCode
from cardd.cli.language import say, terminal_language
from cardd.cli.options import Group, Options, pass_options
from cardd.cli.output import note, print_json
from cardd.settings import Settings

_file = click.option(
    "--file",
    "path",
    type=click.Path(dir_okay=False),
    help="TOML file, instead of the one that CARDD_CONFIG names.",
)


@click.group("config", cls=Group)
def command() -> None:
    """Check the settings, and show those in force."""


@command.command("check")
@_file
@pass_options
def check(options: Options, *, path: str | None) -> int:
    """Check file and environment without a daemon: names, values, and the files they name; exit code 6 when wrong."""
    from cardd.settingscheck import problems  # noqa: PLC0415  slow to import, and rarely needed

    found = problems(_settings(options, path))
    if options.json:
        print_json({"problems": [{"setting": each.setting, "problem": each.problem} for each in found]})
    else:
        for each in found:
            click.echo(f"{each.setting}: {each.problem.in_language(terminal_language())}")
        if not found:
            note(say("The settings hold.", "La configuration est valide."))
    return ExitCode.CHECK_FAILED if found else ExitCode.OK


@command.command("show")
@_file
@pass_options
def show(options: Options, *, path: str | None) -> None:
    """Show every setting in force, as TOML: from the command line, the environment, the file, or by default."""
    values = msgspec.to_builtins(_settings(options, path))
    if options.json:
        print_json(values)
    else:
        click.echo(tomli_w.dumps(values), nl=False)


def _settings(options: Options, path: str | None) -> Settings:
    return options.settings(config_file=Path(path) if path else None)
