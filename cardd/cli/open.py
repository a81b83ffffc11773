"""`cardd open`: the daemon's pages in a browser, signed in by a link that works once."""

import html
import os
import sys
import webbrowser
from pathlib import Path

import click
import msgspec

from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note, print_json


class SignInLink(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's answer: where to go at its address."""

    path: str


@click.command("open", cls=Command)
@click.option("--print-only", is_flag=True, help="Print the link and start no browser.")
@pass_options
def command(options: Options, *, print_only: bool) -> None:
    """Open the pages in a browser, by a link that works once within two minutes."""
    client = options.client()
    link = client.address + client.post("/ihm/links", {}).decode(SignInLink).path
    if options.json:
        print_json({"link": link})
        return
    click.echo(link)
    if print_only or not _has_display():
        note(
            say(
                "Open this link in a browser of this machine; it works once, within two minutes.",
                "Ouvrez ce lien dans un navigateur de cette machine ; il ne sert qu’une fois, sous deux minutes.",
            )
        )
    elif not webbrowser.open(_page(options.settings().runtime, link).as_uri()):
        note(
            say(
                "No browser could be started; open the link yourself.",
                "Aucun navigateur n’a pu être lancé ; ouvrez le lien vous-même.",
            )
        )


def _page(directory: Path, link: str) -> Path:
    """Write a private page that leads to the link, which would be seen by all among a browser's arguments."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / "open.html"
    path.unlink(missing_ok=True)
    address = html.escape(link)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={address}">'
            f'<title>cardd</title><a href="{address}">cardd</a>'
        )
    return path


def _has_display() -> bool:
    """Tell whether a browser with a window can appear; without one, `webbrowser` would take the terminal over."""
    if sys.platform in ("win32", "darwin"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
