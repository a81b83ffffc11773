"""What happens, told to an open page; ends with the session it belongs to."""

import asyncio

from aiohttp import web

from cardd_webservice.api.events import event_number, follow
from cardd_webservice.guard.browsers import BROWSERS
from cardd_webservice.guard.policy import Access
from cardd_webservice.ihm.visit import PageRoute, Visit
from cardd_webservice.operations import Call, Nothing, Reply

_SHOWN = "apres"


async def news(visit: Visit) -> web.StreamResponse:
    """Send the events of the API's stream for as long as the browser is signed in.

    They begin after the one that the page was made after, so that none falls between the page and its news.
    """
    shown = event_number(_SHOWN, visit.query(_SHOWN))
    call = Call(request=visit.request, services=visit.services, given=Nothing())
    stream = asyncio.ensure_future(follow(call, shown))
    over = asyncio.ensure_future(_end_of(visit))
    try:
        await asyncio.wait({stream, over}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        over.cancel()
        if not stream.done():
            stream.cancel()
        await asyncio.gather(stream, over, return_exceptions=True)
    if stream.cancelled():
        if visit.request.transport is not None:
            visit.request.transport.close()
        return web.Response()
    answer = stream.result()
    if isinstance(answer, Reply):
        raise TypeError("a stream does not answer with a value")
    return answer


async def _end_of(visit: Visit) -> None:
    browsers, session = visit.request.app[BROWSERS], visit.session
    while (left := browsers.seconds_left(session)) > 0:
        try:
            async with asyncio.timeout(left):
                await session.ended.wait()
        except TimeoutError:
            continue


ROUTES = (PageRoute("/nouvelles", news, access=Access.LIVE),)
