"""`/crl`: the lists published here and those kept for applications, how fresh they are, and how they grew."""

from dataclasses import dataclass
from datetime import datetime

from aiohttp import web

from cardd.errors import CarddError
from cardd.igc.names import CaName
from cardd.igc.publications import publications
from cardd.igc.publishing import ListKind, PublishedList
from cardd.revocation.types import CrlRequest, CrlView, Freshness
from cardd.text import Text
from cardd_webservice.ihm.chart import Point, step_chart
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, sent, shown

#: Where lists of this PKI come from, in `CrlView.origin`.
_LOCAL = "local"


@dataclass(frozen=True)
class Ageing:
    """How far a list is on the way from its thisUpdate to its nextUpdate."""

    percent: int
    next_update: datetime
    over: bool

    @property
    def shape(self) -> str:
        """The shape that stands for it beside the words."""
        return "bad" if self.over else ("warn" if self.percent >= 90 else "ok")


@dataclass(frozen=True)
class Published:
    """What a CA publishes: its complete list and its delta."""

    authority: CaName
    full: PublishedList
    full_age: Ageing
    delta: PublishedList
    delta_age: Ageing


@dataclass(frozen=True)
class Kept:
    """A list kept for applications, with its age where one is held."""

    view: CrlView
    age: Ageing | None


async def show(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Show the lists published, the entries of one of them over time, and the lists kept for applications."""
    now = visit.services.clock.now()
    rows = [_published(visit, authority, now) for authority in sorted(visit.services.pki.authorities)]
    known = {row.authority.value: row for row in rows}
    fullest = max(rows, key=lambda row: row.full.entries)
    chosen = known.get(visit.query("liste"), fullest)
    history = await publications(visit.services.store, chosen.authority)
    kept = [
        Kept(view, _age(view.this_update, view.next_update, now))
        for view in visit.services.revocation.lists(visit.language)
        if view.origin != _LOCAL
    ]
    return visit.page(
        "crl.html",
        rows=rows,
        chosen=chosen,
        history=history,
        chart=step_chart([Point(*each) for each in history], now),
        kept=kept,
        fresh=Freshness.FRESH,
        error=error,
    )


async def keep(visit: Visit) -> web.StreamResponse:
    """Keep a list from now on."""

    async def perform() -> str:
        form = visit.form
        request = request_of(
            CrlRequest, url=form.optional("url"), issuer_certificate=form.text("issuer_certificate")
        )
        await visit.services.revocation.add(request)
        return "/crl"

    try:
        location = await visit.once(perform)
    except CarddError as error:
        return await show(visit, error)
    return visit.redirect(
        location,
        Text(
            "The list is kept from now on; it is being fetched.",
            "La liste est désormais tenue ; elle arrive.",
        ),
    )


async def refresh(visit: Visit) -> web.StreamResponse:
    """Fetch a kept list now."""
    try:
        await visit.services.revocation.refresh(visit.path("id"))
    except CarddError as error:
        return await show(visit, error)
    return visit.redirect("/crl", Text("The list is up to date.", "La liste est à jour."))


async def forget(visit: Visit) -> web.StreamResponse:
    """Forget a kept list."""
    try:
        await visit.services.revocation.remove(visit.path("id"))
    except CarddError as error:
        return await show(visit, error)
    return visit.redirect("/crl", Text("The list is no longer kept.", "La liste n’est plus tenue."))


def _published(visit: Visit, authority: CaName, now: datetime) -> Published:
    lists = visit.services.pki.lists
    full, delta = lists.current(authority, ListKind.FULL), lists.current(authority, ListKind.DELTA)
    return Published(
        authority,
        full,
        _ageing(full.this_update, full.next_update, now),
        delta,
        _ageing(delta.this_update, delta.next_update, now),
    )


def _age(this_update: datetime | None, next_update: datetime | None, now: datetime) -> Ageing | None:
    if this_update is None or next_update is None:
        return None
    return _ageing(this_update, next_update, now)


def _ageing(this_update: datetime, next_update: datetime, now: datetime) -> Ageing:
    life = next_update - this_update
    percent = round(100 * ((now - this_update) / life)) if life else 100
    return Ageing(min(max(percent, 0), 100), next_update, over=now >= next_update)


ROUTES = (
    shown("/crl", show),
    sent("/crl/nouvelle", keep),
    sent("/crl/{id}/actualiser", refresh),
    sent("/crl/{id}/oublier", forget),
)
