"""The cards: who they are, their PIN, and the session that lets one order with them."""

from aiohttp import web

from cardd.cards.types import PinChangeRequest, SessionRequest, TestCardRequest
from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.text import Text
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, sent, shown


async def list_cards(visit: Visit, error: CarddError | None = None, asked: str = "") -> web.StreamResponse:
    """Show readers and cards, those present first."""
    cards = sorted(
        await visit.services.cards.list(), key=lambda card: (not card.present, card.opposed, card.serial)
    )
    readers = await visit.services.presence.readers()
    asked = asked or visit.query("carte")
    return visit.page("cards.html", cards=cards, readers=readers, asked=asked, error=error)


async def open_session(visit: Visit) -> web.StreamResponse:
    """Take the PIN, and open a session of the card; at the final try only when that box is ticked."""
    serial, sessions = visit.path("serial"), visit.services.sessions
    request = SessionRequest(
        pin=visit.form.secret("pin")[:64], accept_final_try=visit.form.ticked("accept_final_try")
    )
    try:
        session = await sessions.open(serial, request)
    except CarddError as error:
        return await list_cards(visit, error, serial)
    if visit.card is not None:
        await sessions.close(visit.card.card_serial, visit.card.id)
    visit.session.card_session = session.id
    return visit.redirect(
        _safe(visit.form.text("retour")),
        Text(f"A session of card {serial} is open.", f"La session de la carte {serial} est ouverte."),
    )


async def close_session(visit: Visit) -> web.StreamResponse:
    """Close the card session that this browser opened."""
    if visit.card is not None:
        await visit.services.sessions.close(visit.card.card_serial, visit.card.id)
        visit.session.card_session = None
    return visit.redirect("/cartes", Text("The card session is closed.", "La session de carte est fermée."))


async def change_pin(visit: Visit) -> web.StreamResponse:
    """Change the PIN; the new one is typed twice."""
    serial, form = visit.path("serial"), visit.form
    try:
        if form.secret("new") != form.secret("again"):
            raise InvalidFieldsError(
                [FieldProblem("again", Text("is not the same PIN", "n’est pas le même code"))]
            )
        await visit.services.sessions.change_pin(
            serial,
            request_of(
                PinChangeRequest,
                old=form.secret("old"),
                new=form.secret("new"),
                accept_final_try=form.ticked("accept_final_try"),
            ),
        )
    except CarddError as error:
        return await list_cards(visit, error, serial)
    return visit.redirect("/cartes", Text("The PIN is changed.", "Le code porteur est changé."))


async def insert(visit: Visit) -> web.StreamResponse:
    """Put a test card into its reader."""
    try:
        await visit.services.cards.insert(visit.path("serial"))
    except CarddError as error:
        return await list_cards(visit, error)
    return visit.redirect("/cartes", Text("The card is inserted.", "La carte est insérée."))


async def remove(visit: Visit) -> web.StreamResponse:
    """Take a test card out of its reader; its session ends at once."""
    try:
        await visit.services.cards.remove(visit.path("serial"))
    except CarddError as error:
        return await list_cards(visit, error)
    return visit.redirect(
        "/cartes", Text("The card is out of its reader.", "La carte est sortie de son lecteur.")
    )


async def create(visit: Visit) -> web.StreamResponse:
    """Make a test card for an approved habilitation."""
    habilitation = visit.form.text("habilitation")

    async def perform() -> str:
        request = request_of(
            TestCardRequest,
            habilitation=habilitation,
            medium=visit.form.text("medium") or "softhsm",
            type=visit.form.text("type") or "cps",
        )
        card = await visit.services.cards.create(request)
        return f"/cartes?carte={card.serial}"

    location = await visit.once(perform)
    return visit.redirect(location, Text("The test card is made.", "La carte de test est créée."))


def _safe(path: str) -> str:
    """Return where a form wants to lead to, if that is one of our own pages."""
    ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if ours else "/demander"


ROUTES = (
    shown("/cartes", list_cards),
    sent("/cartes/{serial}/session", open_session),
    sent("/cartes/{serial}/fermer", close_session),
    sent("/cartes/{serial}/code", change_pin),
    sent("/cartes/{serial}/inserer", insert),
    sent("/cartes/{serial}/retirer", remove),
    sent("/cartes/nouvelle", create),
)
