"""Orders: filed, tracked, cancelled, retrieved."""

from http import HTTPMethod, HTTPStatus
from typing import Any

from cardd.cards.errors import CardRemovedError, CardSessionEndedError, CardSessionRequiredError
from cardd.custody.errors import WeakKeyError
from cardd.custody.registry import KeyAlreadyHeldError, KeyBlockedError
from cardd.errors import NotFoundError
from cardd.orders.errors import (
    NotAuthorisedError,
    OrderEndedError,
    PossessionExpiredError,
    PossessionProvenError,
    PossessionSignatureInvalidError,
    PossessionUnprovenError,
)
from cardd.orders.filters import OrderFilters
from cardd.orders.paging import DEFAULT_LIMIT, Page
from cardd.orders.types import CertificateView, OrderRequest, OrderView, PossessionProof, RetrievalRequest
from cardd_webservice.guard.policy import Access
from cardd_webservice.operations import ORDER, READ, Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import Cursor, Limit, split_query

_TAG = "Technical phase"
_ID = Parameter("id", "The order.")


class OrderQuery(OrderFilters, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which orders are asked for."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


async def create_order(call: Call[OrderRequest]) -> Reply:
    """Order a certificate, with a key made on a token or a CSR."""
    orders, session = call.services.orders, call.authorised_session()
    view = await call.services.sessions.while_present(session, lambda: orders.create(call.given, session))
    return Reply(view, status=HTTPStatus.CREATED)


async def list_orders(call: Call[OrderQuery]) -> Reply:
    """Answer a page of orders, newest first."""
    filters, page = split_query(call.given, OrderFilters)
    return Reply(await call.services.orders.list(filters, page, call.session))


async def get_order(call: Call[Nothing]) -> Reply:
    """Answer one order with its history."""
    return Reply(await call.services.orders.get(call.path("id"), call.session))


async def cancel_order(call: Call[Nothing]) -> Reply:
    """Cancel an order that waits to be retrieved; its key is destroyed."""
    return Reply(await call.services.orders.cancel(call.path("id"), call.session))


async def retrieve(call: Call[RetrievalRequest]) -> Reply:
    """Retrieve an order: its certificate is issued and handed over."""
    orders, session, order = call.services.orders, call.authorised_session(), call.path("id")
    view = await call.services.sessions.while_present(
        session, lambda: orders.retrieve(order, call.given, session)
    )
    return Reply(view, status=HTTPStatus.CREATED)


async def prove_possession(call: Call[PossessionProof]) -> Reply:
    """Prove that the key of an order's CSR is held, by its signature over the order's `possession.to_sign`."""
    return Reply(await call.services.orders.prove(call.path("id"), call.given, call.session))


async def renew_nonce(call: Call[Nothing]) -> Reply:
    """Replace an order's nonce, expired or not, by a new one."""
    return Reply(await call.services.orders.renew_nonce(call.path("id"), call.session))


_SESSION_ERRORS = (CardSessionRequiredError, CardSessionEndedError, CardRemovedError)
_POSSESSION_ERRORS = (NotFoundError, NotAuthorisedError, OrderEndedError, PossessionProvenError)

OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.POST,
        path="/orders",
        handler=create_order,
        scopes=ORDER,
        takes=OrderRequest,
        answers=OrderView,
        summary="Order a certificate",
        tag=_TAG,
        access=Access.CARD,
        status=HTTPStatus.CREATED,
        errors=(*_SESSION_ERRORS, NotAuthorisedError, KeyAlreadyHeldError, KeyBlockedError, WeakKeyError),
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/orders",
        handler=list_orders,
        scopes=READ | ORDER,
        takes=OrderQuery,
        answers=Page[OrderView],
        summary="List orders",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/orders/{id}",
        handler=get_order,
        scopes=READ | ORDER,
        takes=Nothing,
        answers=OrderView,
        summary="Track an order",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path="/orders/{id}",
        handler=cancel_order,
        scopes=ORDER,
        takes=Nothing,
        answers=OrderView,
        summary="Cancel an order",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError, NotAuthorisedError, OrderEndedError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/orders/{id}/retrieval",
        handler=retrieve,
        scopes=ORDER,
        takes=RetrievalRequest,
        answers=CertificateView,
        summary="Retrieve an order",
        tag=_TAG,
        access=Access.CARD,
        status=HTTPStatus.CREATED,
        parameters=(_ID,),
        errors=(
            *_SESSION_ERRORS,
            NotFoundError,
            NotAuthorisedError,
            OrderEndedError,
            PossessionUnprovenError,
            KeyBlockedError,
        ),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/orders/{id}/possession",
        handler=prove_possession,
        scopes=ORDER,
        takes=PossessionProof,
        answers=OrderView,
        summary="Prove possession of a CSR's key",
        tag=_TAG,
        parameters=(_ID,),
        errors=(*_POSSESSION_ERRORS, PossessionExpiredError, PossessionSignatureInvalidError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/orders/{id}/possession/nonce",
        handler=renew_nonce,
        scopes=ORDER,
        takes=Nothing,
        answers=OrderView,
        summary="Ask for a new nonce to sign",
        tag=_TAG,
        parameters=(_ID,),
        errors=_POSSESSION_ERRORS,
    ),
)
