"""PINs and revocation codes: asked for without echo, or read from a file or standard input; never an argument.

Arguments and the environment are seen by other processes and kept in histories, so neither is offered.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from cardd.cli.language import say


def read_pin(pin_file: str | None, *, from_stdin: bool, prompt: str, confirm: bool = False) -> str:
    """Return a PIN from where the options say, otherwise from the terminal; raises `click.UsageError`."""
    return _read(
        pin_file, from_stdin=from_stdin, prompt=prompt, confirm=confirm, options="--pin-file / --pin-stdin"
    )


def read_code(code_file: str | None, *, from_stdin: bool, confirm: bool) -> str:
    """Return a revocation code; typed twice on a terminal with `confirm`."""
    return _read(
        code_file,
        from_stdin=from_stdin,
        prompt=say("Revocation code", "Code de révocation"),
        confirm=confirm,
        options="--code-file / --code-stdin",
    )


def read_passphrase(passphrase_file: str | None) -> str:
    """Return the passphrase of a key file; raises `click.UsageError`."""
    return _read(
        passphrase_file,
        from_stdin=False,
        prompt=say("Passphrase of the key", "Phrase secrète de la clé"),
        confirm=False,
        options="--passphrase-file",
    )


def _read(secret_file: str | None, *, from_stdin: bool, prompt: str, confirm: bool, options: str) -> str:
    if secret_file is not None:
        return _first_line_of(secret_file)
    if from_stdin:
        return _next_line(options)
    if not sys.stdin.isatty():
        raise click.UsageError(
            say(
                f"{prompt}: there is no terminal to ask on; use {options}.",
                f"{prompt} : aucun terminal où le demander ; utilisez {options}.",
            )
        )
    confirmation = say("once more", "encore une fois") if confirm else False
    value: str = click.prompt(prompt, hide_input=True, confirmation_prompt=confirmation, err=True)
    return value


def _first_line_of(secret_file: str) -> str:
    try:
        first_line, _, _ = Path(secret_file).read_text(encoding="utf-8").partition("\n")
    except (OSError, UnicodeDecodeError):
        raise click.UsageError(
            say(f"{secret_file} cannot be read.", f"{secret_file} est illisible.")
        ) from None
    return first_line.rstrip("\r")


def _next_line(options: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise click.UsageError(
            say(
                f"Standard input holds no line for {options}.",
                f"L’entrée standard n’a pas de ligne pour {options}.",
            )
        )
    return line.rstrip("\r\n")


def pin_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the PIN comes from."""
    with_stdin = click.option(
        "--pin-stdin", is_flag=True, help="Read the PIN from the next line of standard input."
    )(function)
    return click.option(
        "--pin-file",
        type=click.Path(dir_okay=False),
        help="Read the PIN from the first line of this file.",
    )(with_stdin)


def code_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where the revocation code comes from."""
    with_stdin = click.option(
        "--code-stdin", is_flag=True, help="Read the revocation code from the next line of standard input."
    )(function)
    return click.option(
        "--code-file",
        type=click.Path(dir_okay=False),
        help="Read the revocation code from the first line of this file.",
    )(with_stdin)


def confirm_or_stop(question: str, *, yes: bool, option: str = "--yes") -> None:
    """Go on only after a yes; without a terminal only with `option`; raises `click.UsageError` or `click.Abort`."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(
            say(f"{question} Confirm with {option}.", f"{question} Confirmez avec {option}.")
        )
    click.confirm(question, abort=True, err=True)
