"""`cardd virtual-card …`: a virtual card that stands by itself, for tests and CI without a daemon."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cardd.cli.language import say
from cardd.cli.options import Group, Options, pass_options
from cardd.cli.secrets import pin_options, read_pin
from cardd.cli.startup import run_on_loop
from cardd.clock import SystemClock

if TYPE_CHECKING:
    from cardd.virtualcard import ConfinedPcscd, VirtualCard

_PEM_PAIR = (click.Path(exists=True, dir_okay=False), click.Path(exists=True, dir_okay=False))


@click.group("virtual-card", cls=Group)
def command() -> None:
    """Run a virtual card without a daemon."""


@dataclass(frozen=True)
class _Reader:
    """Where the card goes."""

    host: str
    port: int
    confined: bool


@command.command("run")
@click.argument("directory", type=click.Path(file_okay=False))
@click.option("--serial", help="Serial of a new card: 8 digits. By default, random ones.")
@click.option(
    "--type", "card_type", type=click.Choice(["CPS", "CPE", "CPA"], case_sensitive=False), default="CPS"
)
@click.option(
    "--authentication",
    nargs=2,
    type=_PEM_PAIR,
    metavar="CERT KEY",
    help="PEM files for the authentication key.",
)
@click.option(
    "--signature", nargs=2, type=_PEM_PAIR, metavar="CERT KEY", help="PEM files for the signature key."
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Where vpcd, the virtual reader, listens."
)
@click.option("--port", type=click.IntRange(1, 65535), default=35963, show_default=True, help="Its port.")
@click.option("--confined", is_flag=True, help="Start a private pcscd too; prints its PCSCLITE_CSOCK_NAME.")
@pin_options
@pass_options
def run(
    options: Options,
    *,
    directory: str,
    serial: str | None,
    card_type: str,
    authentication: tuple[str, str] | None,
    signature: tuple[str, str] | None,
    host: str,
    port: int,
    confined: bool,
    pin_file: str | None,
    pin_stdin: bool,
) -> None:
    """Insert the card that lies in DIRECTORY into a virtual reader, until interrupted.

    A card is made where there is none yet: with the given certificates and keys (RSA 2048), otherwise with throw-away
    ones; its PIN is 1234 unless --pin-file or --pin-stdin gives another, its PUK 12345678. What happens is printed
    a line each: `PCSCLITE_CSOCK_NAME=…` with --confined, then `inserted SERIAL` once pcscd has noticed the card.
    """
    from cardd.virtualcard import making  # noqa: PLC0415  --help does without
    from cardd.virtualcard.content import CardSerial, CardType, KeyRole  # noqa: PLC0415
    from cardd.virtualcard.stored import CardFolder  # noqa: PLC0415

    folder = CardFolder(Path(directory))
    if not folder.exists:
        pin = making.DEFAULT_PIN
        if pin_file is not None or pin_stdin:
            pin = read_pin(pin_file, from_stdin=pin_stdin, prompt="PIN")
        given = {
            role: making.GivenCredential(Path(files[0]).read_bytes(), Path(files[1]).read_bytes())
            for role, files in ((KeyRole.AUTHENTICATION, authentication), (KeyRole.SIGNATURE, signature))
            if files
        }
        try:
            card = making.make_card(
                SystemClock(),
                serial=CardSerial(serial) if serial else None,
                card_type=CardType[card_type.upper()],
                given=given,
                pin=pin,
            )
            card.content()
        except ValueError as error:
            raise click.UsageError(_explained(error)) from None
        folder.write(card)
    run_on_loop(_stand(folder.path, _Reader(host, port, confined), _Lines(options.json)))


class _Lines:
    """Prints what happens, a line each, at once."""

    def __init__(self, as_json: bool) -> None:  # noqa: FBT001
        self._as_json = as_json

    def tell(self, line: str, **facts: Any) -> None:
        """Print one line, or the facts as JSON."""
        text = msgspec.json.encode(facts).decode() if self._as_json else line
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


async def _stand(directory: Path, reader: _Reader, lines: _Lines) -> None:
    from cardd.virtualcard import CardEvent, VirtualCard, tcp_connector  # noqa: PLC0415
    from cardd.virtualcard.stored import CardFolder  # noqa: PLC0415

    folder = CardFolder(directory)
    content = await asyncio.to_thread(folder.load)
    serial = content.profile.serial
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    entered = asyncio.Event()

    def observe(event: CardEvent) -> None:
        if event is CardEvent.INSERTED:
            entered.set()
        else:
            lines.tell(f"{event.value} {serial}", event=event.value, serial=serial)

    async with contextlib.AsyncExitStack() as standing:
        if reader.confined:
            connector = (await standing.enter_async_context(_confined(directory, lines))).connector(
                reader.port
            )
        else:
            connector = tcp_connector(reader.host, reader.port)
        card = VirtualCard(content, folder.state, connector=connector, clock=SystemClock(), observer=observe)
        await standing.enter_async_context(card)
        telling = asyncio.create_task(_tell_insertions(card, entered, serial, lines))
        await stopping.wait()
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


async def _tell_insertions(card: "VirtualCard", entered: asyncio.Event, serial: str, lines: _Lines) -> None:
    """Tell of each insertion once the reader has noticed it."""
    while True:
        await entered.wait()
        entered.clear()
        await card.wait_until_felt()
        lines.tell(f"inserted {serial}", event="inserted", serial=serial)


@contextlib.asynccontextmanager
async def _confined(directory: Path, lines: _Lines) -> AsyncIterator["ConfinedPcscd"]:
    from cardd.virtualcard import VirtualReaders  # noqa: PLC0415

    readers = VirtualReaders(directory / "pcsc", directory, SystemClock())
    try:
        environment = await readers.start()
        line = " ".join(f"{name}={value}" for name, value in environment.items())
        lines.tell(line, event="started", environment=dict(environment))
        yield readers.pcscd
    finally:
        await readers.stop()


def _explained(error: ValueError) -> str:
    return say(f"The card cannot be made: {error}.", f"La carte ne peut pas être faite : {error}.")
