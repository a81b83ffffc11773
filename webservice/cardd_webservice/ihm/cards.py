"""The cards: who they are, their PIN, and the session that lets one order with them."""

from aiohttp import web

from cardd.cards.types import PinChangeRequest, SessionRequest, TestCardRequest, UnblockRequest
from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.orders.types import HabilitationState
from cardd.text import Text
from cardd_webservice.ihm.forms import Form
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, sent, shown

_MOST_HABILITATIONS = 500


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


async def unblock_pin(visit: Visit) -> web.StreamResponse:
    """Set a new PIN with the card's PUK; the new one is typed twice."""
    serial, form = visit.path("serial"), visit.form
    try:
        _check_typed_twice(form)
        request = request_of(UnblockRequest, puk=form.secret("puk"), new=form.secret("new"))
        await visit.services.sessions.unblock_pin(serial, request)
    except CarddError as error:
        return await list_cards(visit, error, serial)
    return visit.redirect("/cartes", Text("The PIN is unblocked.", "Le code porteur est débloqué."))


async def change_pin(visit: Visit) -> web.StreamResponse:
    """Change the PIN; the new one is typed twice."""
    serial, form = visit.path("serial"), visit.form
    try:
        _check_typed_twice(form)
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


async def ask_new(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Ask what a new test card is to be."""
    listed = await visit.services.habilitations.list(_MOST_HABILITATIONS, None)
    approved = [each for each in listed.items if each.state is HabilitationState.APPROVED]
    return visit.page("card_new.html", habilitations=approved, error=error)


async def create(visit: Visit) -> web.StreamResponse:
    """Make a test card for an approved habilitation, and insert it if asked to."""
    form = visit.form

    async def perform() -> str:
        request = request_of(
            TestCardRequest,
            habilitation=form.text("habilitation"),
            medium=form.optional("medium"),
            type=form.optional("type"),
            last_name=form.optional("last_name"),
            first_name=form.optional("first_name"),
        )
        card = await visit.services.cards.create(request)
        if form.ticked("insert"):
            await visit.services.cards.insert(card.serial)
        return f"/cartes?carte={card.serial}#carte-{card.serial}"

    try:
        location = await visit.once(perform)
    except CarddError as error:
        return await ask_new(visit, error)
    return visit.redirect(location, Text("The test card is made.", "La carte de test est créée."))


def _check_typed_twice(form: Form) -> None:
    if form.secret("new") != form.secret("again"):
        raise InvalidFieldsError(
            [FieldProblem("again", Text("is not the same PIN", "n’est pas le même code"))]
        )


def _safe(path: str) -> str:
    """Return where a form wants to lead to, if that is one of our own pages."""
    ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if ours else "/demander"


ROUTES = (
    shown("/cartes", list_cards),
    sent("/cartes/{serial}/session", open_session),
    sent("/cartes/{serial}/fermer", close_session),
    sent("/cartes/{serial}/code", change_pin),
    sent("/cartes/{serial}/deblocage", unblock_pin),
    sent("/cartes/{serial}/inserer", insert),
    sent("/cartes/{serial}/retirer", remove),
    shown("/cartes/nouvelle", ask_new),
    sent("/cartes/nouvelle", create),
)
