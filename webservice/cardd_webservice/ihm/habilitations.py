"""`/habilitations`: form F414, its decision, and the test cards that come of it."""

from typing import Any

from aiohttp import web

from cardd.errors import CarddError
from cardd.orders.offers import OFFERS, USAGE_LABELS
from cardd.orders.types import HabilitationForm, HabilitationView, Offer, RefusalRequest
from cardd.text import Text
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, sent, shown

_PAGE = 25
_PLAIN = ("structure_name", "delivery_address", "postal_code", "town")
_RECIPIENT = ("last_name", "first_name", "function", "phone", "email")


async def list_habilitations(visit: Visit) -> web.StreamResponse:
    """Show the habilitations, newest first."""
    found = await visit.services.habilitations.list(_PAGE, visit.query("suite")[:256] or None)
    return visit.page("habilitations.html", habilitations=found)


async def ask(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Show form F414."""
    return visit.page("f414.html", offers=OFFERS, usage_labels=USAGE_LABELS, error=error)


async def submit(visit: Visit) -> web.StreamResponse:
    """Submit form F414."""

    async def perform() -> str:
        made = await visit.services.habilitations.submit(_form(visit))
        return f"/habilitations/{made.id}"

    try:
        location = await visit.once(perform)
    except CarddError as error:
        return await ask(visit, error)
    return visit.redirect(location, Text("The form is submitted.", "Le formulaire est déposé."))


async def show(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Show one habilitation, and what can be decided about it."""
    found = await visit.services.habilitations.get(visit.path("id"))
    return visit.page("habilitation.html", habilitation=found, usage_labels=USAGE_LABELS, error=error)


async def approve(visit: Visit) -> web.StreamResponse:
    """Approve it."""
    return await _decide(visit, Text("The habilitation is approved.", "L’habilitation est approuvée."))


async def refuse(visit: Visit) -> web.StreamResponse:
    """Refuse it, and say why."""
    return await _decide(visit, Text("The habilitation is refused.", "L’habilitation est refusée."))


async def withdraw(visit: Visit) -> web.StreamResponse:
    """Withdraw it; its cards lose at once what it gave them."""
    return await _decide(visit, Text("The habilitation is withdrawn.", "L’habilitation est retirée."))


async def _decide(visit: Visit, notice: Text) -> web.StreamResponse:
    identifier, rooms = visit.path("id"), visit.services.habilitations
    try:
        match visit.request.path.rpartition("/")[2]:
            case "approuver":
                done: HabilitationView = await rooms.approve(identifier)
            case "refuser":
                request = request_of(RefusalRequest, reason=visit.form.text("reason"))
                done = await rooms.refuse(identifier, request.reason)
            case _:
                done = await rooms.withdraw(identifier)
    except CarddError as error:
        return await show(visit, error)
    return visit.redirect(f"/habilitations/{done.id}", notice)


def _form(visit: Visit) -> HabilitationForm:
    form = visit.form
    kind = form.text("identifier_kind")
    values: dict[str, Any] = {name: form.text(name) for name in _PLAIN}
    if kind in ("siret", "siren", "finess"):
        values[kind] = form.optional("identifier")
    quantity = form.text("card_quantity")
    return request_of(
        HabilitationForm,
        **values,
        recipient={name: form.text(f"recipient.{name}") for name in _RECIPIENT},
        cards=[
            {
                "type": form.text("card_type") or "cps",
                "quantity": int(quantity) if quantity.isdecimal() else 1,
                "use": form.text("card_use"),
            }
        ],
        offers=[
            {
                "offer": offer.value,
                "usages": [
                    usage.usage.value
                    for usage in OFFERS[offer].usages
                    if f"{offer.value}.{usage.usage.value}" in form.all("wanted")
                ],
                "use": form.text("use"),
                "solution": form.text("solution"),
            }
            for offer in Offer
            if any(each.startswith(f"{offer.value}.") for each in form.all("wanted"))
        ],
    )


ROUTES = (
    shown("/habilitations", list_habilitations),
    shown("/habilitations/nouvelle", ask),
    sent("/habilitations/nouvelle", submit),
    shown("/habilitations/{id}", show),
    sent("/habilitations/{id}/approuver", approve),
    sent("/habilitations/{id}/refuser", refuse),
    sent("/habilitations/{id}/retirer", withdraw),
)
