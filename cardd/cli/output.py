"""What the commands print: the daemon's JSON for machines, tables for people."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Any

import click
import msgspec

from cardd.cli.language import say
from cardd.client import Answer

#: Columns of a table that goes to a file or a pipe.
_PIPE_WIDTH = 200


def print_answer(answer: Answer) -> None:
    """Print the daemon's JSON as it came, indented."""
    print_bytes(msgspec.json.format(answer.body, indent=2) + b"\n")


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    print_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


def print_bytes(content: bytes) -> None:
    """Write bytes to standard output."""
    sys.stdout.buffer.write(content)
    sys.stdout.buffer.flush()


def note(sentence: str) -> None:
    """Tell a person something on standard error, where no program reads it."""
    click.echo(printable(sentence), err=True)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str | None = None) -> None:
    """Print rows under headings; with no row, say `empty` on standard error instead."""
    from rich.console import Console  # noqa: PLC0415  slow to import, and not needed with --json
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell(value)) for value in row))
    if not table.row_count:
        note(empty or say("Nothing to show.", "Rien à afficher."))
        return
    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else _PIPE_WIDTH)
    with console.capture() as drawn:
        console.print(table)
    for line in drawn.get().splitlines():
        click.echo(line.rstrip())


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print name and value on a line each, leaving out what is not known."""
    shown = {name: cell(value) for name, value in facts.items() if value not in (None, "", (), [], {})}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        click.echo(f"{name:<{width}}  {value}")


def print_history(entries: Iterable[Any]) -> None:
    """Print history entries, the oldest first."""
    click.echo()
    print_table(
        (say("when", "quand"), say("what", "quoi"), say("who", "qui"), say("details", "détails")),
        ((entry.at, entry.action, entry.actor, entry.details) for entry in entries),
        empty=say("No history yet.", "Pas encore d’historique."),
    )


def print_more(next_cursor: str | None) -> None:
    """Say how to see the rest of a list."""
    if next_cursor:
        note(say(f"More with --cursor {next_cursor}", f"Suite avec --cursor {next_cursor}"))


def cell(value: Any) -> str:  # noqa: PLR0911  one return a kind of value
    """Return a value as people read it: local time to the second, lists with commas."""
    match value:
        case None | "":
            return "–"
        case bool():
            return say("yes", "oui") if value else say("no", "non")
        case Enum():
            return str(value.value)
        case datetime():
            return value.astimezone().isoformat(sep=" ", timespec="seconds")
        case Mapping():
            return ", ".join(f"{name}={cell(each)}" for name, each in value.items()) or "–"
        case list() | tuple():
            return ", ".join(map(cell, value)) or "–"
        case _:
            return printable(str(value))


def printable(text: str) -> str:
    """Return text without control characters, which could drive the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
