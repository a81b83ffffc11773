"""The first page and the policy: for everybody how the daemon is, for who is signed in what waits to be done."""

from aiohttp import web

from cardd.orders.filters import CertificateFilters, OrderFilters
from cardd.orders.paging import PageRequest
from cardd.orders.sorting import CertificateSort
from cardd.orders.types import CertificateState, OrderState
from cardd_webservice.guard.policy import Access
from cardd_webservice.ihm.visit import PageRoute, Visit

_FIRST = PageRequest(limit=5)


async def state_page(visit: Visit) -> web.StreamResponse:
    """Answer `/`: that the daemon runs, what is in its readers, and where to go."""
    services = visit.services
    readers = await services.presence.readers()
    if visit.browser is None:
        present = sum(reader.card is not None for reader in readers)
        return visit.page("public.html", cards_present=present, readers=len(readers))
    cards = {card.serial: card for card in await services.cards.list()}
    waiting = await services.orders.list(OrderFilters(state=OrderState.TO_RETRIEVE), _FIRST, visit.card)
    expiring = await services.certificates.list(
        CertificateFilters(state=CertificateState.RENEWABLE, sort=CertificateSort.EXPIRY), _FIRST, visit.card
    )
    return visit.page(
        "state.html",
        readers=readers,
        cards=cards,
        waiting=waiting,
        expiring=expiring,
        parts=await services.health(),
    )


async def policy_page(visit: Visit) -> web.StreamResponse:
    """Answer `/PC`: what the test PKI is, what its certificates are not, and its authorities."""
    authorities = sorted(visit.services.pki.authorities)
    name = f"policy.{visit.language}.html"
    return visit.page(name, authorities=authorities, settings=visit.services.settings.pki)


ROUTES = (
    PageRoute("/", state_page, access=Access.PUBLIC),
    PageRoute("/PC", policy_page, access=Access.PUBLICATION),
)
