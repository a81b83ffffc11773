"""`/applications`: which applications ask, which were let in, and which want to use a card's key."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from cardd.applications.types import (
    ApplicationState,
    ApprovalRequest,
    RenameRequest,
    Scope,
)
from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.text import Text
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, sent, shown

SCOPES = {
    Scope.READ: Text(
        "look: readers, cards, orders, certificates and events",
        "consulter : lecteurs, cartes, commandes, certificats et événements",
    ),
    Scope.ORDER: Text(
        "order, retrieve and renew certificates, with a card session",
        "demander, retirer et renouveler des certificats, avec une session de carte",
    ),
    Scope.REVOKE: Text(
        "revoke certificates, with their code or a card session",
        "révoquer des certificats, avec leur code ou une session de carte",
    ),
    Scope.SIGN: Text(
        "use the keys of a card, each time its holder agrees",
        "utiliser les clés d’une carte, si son porteur l’accepte",
    ),
    Scope.VALIDATE: Text(
        "ask whether certificates are valid or revoked",
        "demander si des certificats sont valides ou révoqués",
    ),
    Scope.OWNER: Text(
        "do everything that you may do, habilitations and settings of keys included",
        "tout ce qui vous est permis, habilitations et gestion des clés comprises",
    ),
}

STATES = {
    ApplicationState.WAITING: ("wait", Text("Fetches its token", "Va chercher son jeton")),
    ApplicationState.ACTIVE: ("ok", Text("Let in", "Admise")),
    ApplicationState.EXPIRED: ("off", Text("Expired", "Expirée")),
    ApplicationState.REVOKED: ("bad", Text("Revoked", "Révoquée")),
}

#: How long an application is let in: days, and the words for them; nothing means until it is revoked.
DURATIONS = (
    ("1", Text("one day", "un jour")),
    ("7", Text("a week", "une semaine")),
    ("30", Text("30 days", "30 jours")),
    ("90", Text("90 days", "90 jours")),
    ("365", Text("a year", "un an")),
    ("", Text("until I revoke it", "jusqu’à ce que je la révoque")),
)


async def show(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Show what waits for a decision, then the applications."""
    services = visit.services
    return visit.page(
        "applications.html",
        pairings=await services.pairings.pending(),
        applications=await services.applications.list(),
        scopes=SCOPES,
        states=STATES,
        durations=DURATIONS,
        error=error,
    )


async def allow(visit: Visit) -> web.StreamResponse:
    """Let an application in, for what is ticked and as long as is chosen."""
    form = visit.form
    days = form.text("days")

    async def perform() -> None:
        scopes = tuple(scope for scope in Scope if scope.value in form.all("scopes"))
        if not scopes:
            problem = Text("at least one has to be ticked", "il faut en cocher au moins une")
            raise InvalidFieldsError([FieldProblem("scopes", problem)])
        request = request_of(ApprovalRequest, code=form.text("code"), scopes=scopes)
        chosen = int(days) if days in {value for value, _ in DURATIONS if value} else None
        request = msgspec.structs.replace(request, days=chosen)
        await visit.services.pairings.allow(visit.path("id"), request)

    return await _done(visit, perform, Text("The application is let in.", "L’application est admise."))


async def deny(visit: Visit) -> web.StreamResponse:
    """Turn an application away."""
    denying = visit.services.pairings.deny
    notice = Text("The application is turned away.", "L’application est refusée.")
    return await _done(visit, lambda: denying(visit.path("id")), notice)


async def rename(visit: Visit) -> web.StreamResponse:
    """Call an application by another name."""

    async def perform() -> None:
        request = request_of(RenameRequest, name=visit.form.text("name"))
        await visit.services.applications.rename(visit.path("id"), request.name)

    return await _done(visit, perform, Text("The application is renamed.", "L’application est renommée."))


async def revoke(visit: Visit) -> web.StreamResponse:
    """Let an application in no more."""
    revoking = visit.services.applications.revoke
    notice = Text("The application is revoked.", "L’application est révoquée.")
    return await _done(visit, lambda: revoking(visit.path("id")), notice)


async def agree(visit: Visit) -> web.StreamResponse:
    """Agree to the use of a card's key."""
    deciding = visit.services.consents.decide
    notice = Text("You agreed, for this card session.", "Vous avez accepté, pour cette session de carte.")
    return await _done(visit, lambda: deciding(visit.path("id"), agreed=True), notice)


async def refuse(visit: Visit) -> web.StreamResponse:
    """Refuse the use of a card's key."""
    deciding = visit.services.consents.decide
    notice = Text("You refused, for this card session.", "Vous avez refusé, pour cette session de carte.")
    return await _done(visit, lambda: deciding(visit.path("id"), agreed=False), notice)


async def _done(visit: Visit, perform: Callable[[], Awaitable[object]], notice: Text) -> web.StreamResponse:
    try:
        await perform()
    except CarddError as error:
        return await show(visit, error)
    return visit.redirect("/applications", notice)


ROUTES = (
    shown("/applications", show),
    sent("/applications/demandes/{id}/admettre", allow),
    sent("/applications/demandes/{id}/refuser", deny),
    sent("/applications/{id}/renommer", rename),
    sent("/applications/{id}/revoquer", revoke),
    sent("/applications/usages/{id}/accepter", agree),
    sent("/applications/usages/{id}/refuser", refuse),
)
