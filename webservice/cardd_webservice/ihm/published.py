"""`/crl`: the lists as published, and how far each is on the way to its nextUpdate."""

from dataclasses import dataclass
from datetime import timedelta

from aiohttp import web

from cardd.igc.publishing import ListKind, PublishedList
from cardd_webservice.ihm.visit import Visit, shown


@dataclass(frozen=True)
class Ageing:
    """A list, with the share of its life that is over (0 to 100) and what is left of it."""

    published: PublishedList
    name: str
    path: str
    percent: int
    left: timedelta


async def show(visit: Visit) -> web.StreamResponse:
    """Show every authority's complete and delta list."""
    now, lists = visit.services.clock.now(), visit.services.pki.lists
    rows = []
    for authority in sorted(visit.services.pki.authorities):
        for kind in ListKind:
            published = lists.current(authority, kind)
            life = published.next_update - published.this_update
            percent = round(100 * ((now - published.this_update) / life)) if life else 100
            name = authority.value + ("-delta" if kind is ListKind.DELTA else "")
            rows.append(
                Ageing(
                    published,
                    name,
                    f"/CRL/{name}.crl",
                    min(max(percent, 0), 100),
                    published.next_update - now,
                )
            )
    return visit.page("crl.html", rows=rows)


ROUTES = (shown("/crl", show),)
