"""`/journal`: every state change, and the proof that nobody changed a line."""

from aiohttp import web

from cardd_webservice.ihm.visit import Visit, shown

_PAGE = 50
_MOST_DIGITS = 18


async def show(visit: Visit) -> web.StreamResponse:
    """Show a page of the journal, newest line first; verified when asked for."""
    given = visit.query("avant")
    before = int(given) if given.isascii() and given.isdecimal() and len(given) <= _MOST_DIGITS else None
    store = visit.services.store
    entries = await store.journal(before=before, limit=_PAGE)
    more = len(entries) == _PAGE and entries[-1].seq > 1
    report = await store.verify_journal() if visit.query("verifier") else None
    return visit.page(
        "journal.html",
        entries=entries,
        report=report,
        older=visit.with_query(avant=str(entries[-1].seq), verifier=None) if more else None,
    )


ROUTES = (shown("/journal", show),)
