"""Signing in by a one-time link, and out."""

from http import HTTPStatus

from aiohttp import web

from cardd.errors import CarddError
from cardd.text import Text
from cardd_webservice.api.ihm import SIGN_IN_PATH
from cardd_webservice.errors import RefusedError
from cardd_webservice.guard.browsers import BROWSERS, cookie_name
from cardd_webservice.guard.connections import own_port
from cardd_webservice.guard.policy import Access
from cardd_webservice.ihm.visit import PageRoute, Visit, sent


class LinkUsedError(RefusedError):
    """The link was used before, is too old, or never was one."""

    code = "link_used"
    reason = "link"
    status = HTTPStatus.FORBIDDEN
    title = Text("This link no longer opens anything", "Ce lien n’ouvre plus rien")
    default_advice = Text(
        "Run `cardd open` again: each link works once, within two minutes.",
        "Exécutez de nouveau `cardd open` : chaque lien sert une fois, sous deux minutes.",
    )


async def enter(visit: Visit) -> web.StreamResponse:
    """Exchange a link for the session's cookie, then lead to the first page."""
    request = visit.request
    port = own_port(request)
    ahead = {request.headers.get("Sec-Purpose", ""), request.headers.get("Purpose", "")}
    cookie = None
    if port is not None and not any("prefetch" in purpose for purpose in ahead):
        cookie = request.app[BROWSERS].enter(visit.query("lien"))
    if port is None or cookie is None:
        raise LinkUsedError(
            Text(
                "It was used before, or is older than two minutes.",
                "Il a déjà servi, ou date de plus de deux minutes.",
            )
        )
    # A page of the disk or a mail leads here from “another site”: a Strict cookie would not follow a redirection.
    direct = request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
    response = visit.redirect("/") if direct else visit.page("entered.html")
    response.set_cookie(
        cookie_name(port), cookie, path="/", httponly=True, samesite="Strict", secure=request.secure
    )
    return response


async def leave(visit: Visit) -> web.StreamResponse:
    """Close the card session opened here, end the browser's session, and say so."""
    session = visit.session
    if visit.card is not None:
        try:
            await visit.services.sessions.close(visit.card.card_serial, visit.card.id)
        except CarddError:
            session.card_session = None
    visit.request.app[BROWSERS].leave(session)
    visit.browser = visit.card = None
    response = visit.page("left.html")
    port = own_port(visit.request)
    if port is not None:
        response.del_cookie(cookie_name(port), path="/", httponly=True, samesite="Strict")
    return response


ROUTES = (
    PageRoute(SIGN_IN_PATH, enter, access=Access.ENTRY),
    sent("/quitter", leave),
)
