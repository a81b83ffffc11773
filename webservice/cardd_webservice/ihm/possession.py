"""Proof that the key of an order's CSR is held: what to sign, and the signature."""

import binascii
from base64 import b64decode

from aiohttp import web

from cardd.errors import CarddError, FieldProblem, InvalidFieldsError, NotFoundError
from cardd.orders.types import PossessionProof
from cardd.text import Text
from cardd_webservice.ihm import retrieval
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, sent, shown

_NOT_BASE64 = Text("is not base64", "n’est pas du base64")


async def message(visit: Visit) -> web.StreamResponse:
    """Hand out the bytes that the key is to sign."""
    order = await visit.services.orders.get(visit.path("id"), visit.card)
    if order.possession.to_sign is None:
        raise NotFoundError.of(Text("message to sign", "message à signer"), order.id)
    return web.Response(
        body=order.possession.to_sign,
        content_type="application/octet-stream",
        headers={"Content-Disposition": 'attachment; filename="message.bin"', "Cache-Control": "no-store"},
    )


async def prove(visit: Visit) -> web.StreamResponse:
    """Take the signature, in base64 on any number of lines."""
    try:
        given = "".join(visit.form.text("signature").split())
        try:
            signature = b64decode(given, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidFieldsError([FieldProblem("signature", _NOT_BASE64)]) from None
        proof = request_of(PossessionProof, signature=signature)
        order = await visit.services.orders.prove(visit.path("id"), proof, visit.card)
    except CarddError as error:
        return await retrieval.ask(visit, error)
    return visit.redirect(
        f"/retirer/{order.id}", Text("Your key has signed.", "Votre clé a signé : sa détention est prouvée.")
    )


async def renew(visit: Visit) -> web.StreamResponse:
    """Replace a message whose time is over."""
    try:
        await visit.services.orders.renew_nonce(visit.path("id"), visit.card)
    except CarddError as error:
        return await retrieval.ask(visit, error)
    return visit.redirect(
        f"/retirer/{visit.path('id')}",
        Text("Here is a new message to sign.", "Voici un nouveau message à signer."),
    )


ROUTES = (
    shown("/retirer/{id}/message", message),
    sent("/retirer/{id}/preuve", prove),
    sent("/retirer/{id}/defi", renew),
)
