"""Offers, their usages and the fields of their order forms."""

from http import HTTPMethod
from typing import Any

from cardd.orders.offers import offer_views
from cardd.orders.paging import Page, PageRequest
from cardd.orders.types import OfferView
from cardd_webservice.operations import ORDER, READ, Call, Operation, Reply
from cardd_webservice.paging import page_of


async def list_offers(call: Call[PageRequest]) -> Reply:
    """Answer the offers; with a card session, those that its card is authorised for."""
    offers = offer_views()
    if call.session is not None:
        authorised = {
            covered.offer for habilitation in call.session.habilitations for covered in habilitation.offers
        }
        offers = tuple(offer for offer in offers if offer.offer in authorised)
    return Reply(page_of(offers, lambda offer: offer.offer, call.given))


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/offers",
        handler=list_offers,
        scopes=READ | ORDER,
        takes=PageRequest,
        answers=Page[OfferView],
        summary="List offers with the fields of their orders",
        tag="Technical phase",
    ),
)
