"""The options that every command takes, before or after its name, and what they lead to: settings and client."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cardd.cli.language import terminal_language
from cardd.client import Client, DaemonUnreachableError
from cardd.errors import CarddError
from cardd.settings import Settings, load_settings
from cardd.text import Text


class TokenUnreadableError(CarddError):
    """The owner's token cannot be read."""

    code = "token_unreadable"
    status = 403
    title = Text("The token cannot be read", "Le jeton est illisible")
    default_advice = Text(
        "Run the command as the user who runs the daemon, or name the file with --token-file.",
        "Exécutez la commande sous le compte du démon, ou indiquez le fichier avec --token-file.",
    )


class Options:
    """The shared options as given so far; a later one wins over an earlier one."""

    def __init__(self) -> None:
        self.json = False
        self.state_dir: str | None = None
        self.address: str | None = None
        self.token_file: str | None = None

    def settings(self, *, config_file: Path | None = None, **overrides: Any) -> Settings:
        """Read the settings of the state directory in question; raises `SettingsError`."""
        given = {"state_dir": self.state_dir, **overrides}
        return load_settings(os.environ, config_file=config_file, overrides=given)

    def client(self) -> Client:
        """Return the daemon of the state directory, or the one that is named by `--address`."""
        settings = self.settings()
        address = self.address or _read_address(settings.state / "address")
        token = _read_token(Path(self.token_file) if self.token_file else settings.state / "token")
        return Client(address, token, terminal_language())


def _read_address(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        raise DaemonUnreachableError(
            Text(
                f"No daemon has left its address in {path.parent}.",
                f"Aucun démon n’a laissé son adresse dans {path.parent}.",
            )
        ) from None


def _read_token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise TokenUnreadableError(
            Text(
                f"The token in {path} cannot be read: {error.strerror}.",
                f"Le jeton de {path} est illisible : {error.strerror}.",
            )
        ) from None
    except UnicodeDecodeError:
        raise TokenUnreadableError(
            Text(f"{path} does not hold a token.", f"{path} ne contient pas de jeton.")
        ) from None


def _store(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        setattr(context.ensure_object(Options), str(parameter.name), value)


def shared_parameters(*, environment: bool) -> list[click.Parameter]:
    """Return the shared options; only those of the root read their environment variables."""

    def option(name: str, help_text: str, variable: str | None = None, **more: Any) -> click.Option:
        return click.Option(
            [name],
            help=help_text,
            envvar=variable if environment else None,
            show_envvar=environment,
            expose_value=False,
            callback=_store,
            **more,
        )

    return [
        option("--json", "Print JSON on standard output, and nothing else.", is_flag=True),
        option(
            "--state-dir",
            "State directory of the daemon.",
            "CARDD_STATE_DIR",
            type=click.Path(file_okay=False),
        ),
        option("--address", "Address of the daemon, if not the one in the state directory.", "CARDD_ADDRESS"),
        option(
            "--token-file",
            "File with the bearer token, if not the one in the state directory.",
            "CARDD_TOKEN_FILE",
            type=click.Path(dir_okay=False),
        ),
    ]


class Command(click.Command):
    """A command that takes the shared options too."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(shared_parameters(environment=False))


class Group(click.Group):
    """A group of commands that take the shared options too."""

    command_class = Command
    group_class = type

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(shared_parameters(environment=False))


pass_options = click.make_pass_decorator(Options, ensure=True)


def page_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a paged list."""
    with_cursor = click.option("--cursor", help="Go on from here, as named by the page before.")(function)
    return click.option(
        "--limit",
        type=click.IntRange(1, 500),
        default=50,
        show_default=True,
        help="Entries on a page.",
    )(with_cursor)
