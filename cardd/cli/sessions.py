"""The card session that a command of the technical phase works under: one given, or one of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import click
import msgspec

from cardd.cards.types import CardView, SessionRequest, SessionView
from cardd.cli.language import say
from cardd.cli.secrets import pin_options, read_pin
from cardd.client import Answer, Client, segment
from cardd.errors import CarddError
from cardd.orders.types import OfferUsages, StructureView


class SessionChoice(NamedTuple):
    """How to come by a card session: one that is open already, or a card and where its PIN comes from."""

    card_session: str | None
    card: str | None
    pin_file: str | None
    pin_stdin: bool
    accept_final_try: bool


class SessionHabilitation(msgspec.Struct, frozen=True, kw_only=True):
    """What a session's card is authorised for, as far as the commands need it."""

    structures: tuple[StructureView, ...]
    offers: tuple[OfferUsages, ...]


class AuthorisedSession(NamedTuple):
    """A session's id, its card and, when it was opened here, what the card is authorised for."""

    id: str
    card: str
    habilitations: tuple[SessionHabilitation, ...] = ()


def session_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of `SessionChoice`; the command receives them as `session: SessionChoice`."""

    def collected(*args: Any, **kwargs: Any) -> Any:
        choice = SessionChoice(**{name: kwargs.pop(name) for name in SessionChoice._fields})
        return function(*args, session=choice, **kwargs)

    collected.__name__, collected.__doc__ = function.__name__, function.__doc__
    collected.__dict__.update(function.__dict__)
    for option in (
        click.option(
            "--accept-final-try", is_flag=True, help="Use the PIN's last try: a wrong one blocks the card."
        ),
        pin_options,
        click.option("--card", help="Serial of the card that authorises; default: the one present."),
        click.option("--card-session", help="Use this open card session, and leave it open."),
    ):
        collected = option(collected)
    return collected


@contextmanager
def card_session(client: Client, choice: SessionChoice) -> Iterator[AuthorisedSession]:
    """Give the session named by `--card-session`, or open one (asking for the PIN) and close it afterwards."""
    serial = choice.card or only_card_present(client)
    if choice.card_session is not None:
        yield AuthorisedSession(choice.card_session, serial)
        return
    opened, _ = open_session(client, serial, choice)
    try:
        yield AuthorisedSession(
            opened.id, serial, msgspec.convert(opened.habilitations, tuple[SessionHabilitation, ...])
        )
    finally:
        with suppress(CarddError):
            client.delete(f"/cards/{segment(serial)}/session", card_session=opened.id)


def open_session(client: Client, serial: str, choice: SessionChoice) -> tuple[SessionView, Answer]:
    """Open a session of the card, asking for the PIN where no option holds it; raises `ProblemError`."""
    pin = read_pin(
        choice.pin_file,
        from_stdin=choice.pin_stdin,
        prompt=say(f"PIN of card {serial}", f"Code porteur de la carte {serial}"),
    )
    request = SessionRequest(pin=pin, accept_final_try=choice.accept_final_try)
    answer = client.post(f"/cards/{segment(serial)}/session", request)
    return answer.decode(SessionView), answer


def only_card_present(client: Client) -> str:
    """Return the serial of the one usable card present; raises `click.UsageError` when it is not one."""
    cards = client.get("/cards").page(CardView).items
    usable = [card.serial for card in cards if card.present and not card.opposed]
    if len(usable) == 1:
        return usable[0]
    if not usable:
        raise click.UsageError(
            say(
                "No usable card is present; insert one, with `cardd card insert SERIAL` for a test card.",
                "Aucune carte utilisable n’est présente ; insérez-en une, par « cardd card insert SERIAL » "
                "pour une carte de test.",
            )
        )
    raise click.UsageError(
        say(
            f"Several cards are present; choose with --card: {', '.join(usable)}.",
            f"Plusieurs cartes sont présentes ; choisissez avec --card : {', '.join(usable)}.",
        )
    )
