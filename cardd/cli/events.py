"""`cardd events …`: what happens, as it happens."""

from collections.abc import Iterator
from fnmatch import fnmatchcase

import click
import msgspec

from cardd.cli.options import Group, Options, pass_options
from cardd.cli.output import cell
from cardd.client import Client, ServerEvent
from cardd.events import Event


@click.group("events", cls=Group)
def command() -> None:
    """Follow what happens."""


@command.command("follow")
@click.option("--after", type=click.IntRange(0), metavar="ID", help="Begin after this event; default: now.")
@click.option("--count", type=click.IntRange(1), help="Stop after so many events.")
@click.option(
    "--type", "pattern", default="*", show_default=True, help="Only these types, such as 'order.*'."
)
@pass_options
def follow(options: Options, *, after: int | None, count: int | None, pattern: str) -> None:
    """Print events until interrupted, one a line; a cut stream is taken up where it was left."""
    client = options.client()
    left = count
    for event in followed(client, after):
        if not fnmatchcase(event.type, pattern):
            continue
        click.echo(event.data if options.json else _line(event))
        if left is not None:
            left -= 1
            if left == 0:
                return


def _line(event: ServerEvent) -> str:
    told = msgspec.json.decode(event.data, type=Event)
    return f"{told.id}  {cell(told.at)}  {cell(told.type)}  {cell(told.subject)}  {cell(told.data)}"


def followed(client: Client, after: int | None = None) -> Iterator[ServerEvent]:
    """Yield events for ever, from `after` or from now; a cut stream is taken up where it was left."""
    while True:
        for event in client.events(after):
            after = event.id if event.id is not None else after
            yield event
