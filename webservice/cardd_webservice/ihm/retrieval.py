"""`/retirer`: the revocation code, the terms, and the certificate."""

from aiohttp import web

from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.orders.filters import OrderFilters
from cardd.orders.paging import PageRequest
from cardd.orders.types import OrderState, RetrievalRequest
from cardd.text import Text
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, sent, shown

_PAGE = 25
_TERMS = Text("must be accepted to go on", "doivent être acceptées pour continuer")


async def list_waiting(visit: Visit) -> web.StreamResponse:
    """Show the orders that wait to be retrieved."""
    page = PageRequest(limit=_PAGE, cursor=visit.query("suite") or None)
    filters = OrderFilters(state=OrderState.TO_RETRIEVE, q=visit.query("q")[:200] or None)
    orders = await visit.services.orders.list(filters, page, visit.card)
    return visit.page("retrieve_list.html", orders=orders)


async def ask(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Show an order and what its retrieval needs."""
    order = await visit.services.orders.get(visit.path("id"), visit.card)
    present = [card for card in await visit.services.cards.list() if card.present and not card.opposed]
    return visit.page("retrieve.html", order=order, present=present, error=error)


async def retrieve(visit: Visit) -> web.StreamResponse:
    """Issue the certificate, and lead to it."""
    if visit.card is None:
        return await ask(visit)
    card, form = visit.card, visit.form

    async def perform() -> str:
        if not form.ticked("accept_terms"):
            raise InvalidFieldsError([FieldProblem("accept_terms", _TERMS)])
        request = request_of(
            RetrievalRequest,
            revocation_code=form.secret("revocation_code"),
            confirmation=form.secret("confirmation"),
            accept_terms=True,
        )
        certificate = await visit.services.orders.retrieve(visit.path("id"), request, card)
        return f"/suivre/certificats/{certificate.serial}"

    try:
        location = await visit.once(perform)
    except CarddError as error:
        return await ask(visit, error)
    return visit.redirect(
        location,
        Text(
            "The certificate is issued. Keep its revocation code: it cannot be shown again.",
            "Le certificat est émis. Conservez son code de révocation : il ne pourra plus être affiché.",
        ),
    )


ROUTES = (
    shown("/retirer", list_waiting),
    shown("/retirer/{id}", ask),
    sent("/retirer/{id}", retrieve),
)
