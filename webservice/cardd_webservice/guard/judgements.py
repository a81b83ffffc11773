"""Judgements that stand: a program that keeps its connection says the same of itself with each request.

Its next request is not judged anew where all header lines are, byte for byte, those of the request that was judged
last on the connection, and the route asks the same of its callers. All that the judgement rests on is then the same:
whose the connection is, the `Host`, that no page sends the request, and the token. Whether the token is still good
is asked with every request (`Callers.still_good`).

Only what was judged by a bearer token, and of no page, is kept: a page's origin and a browser's session are judged
anew with each request, and so is every request of a token that is not good.
"""

from typing import NamedTuple

from aiohttp import web
from aiohttp.typedefs import RawHeaders

from cardd_webservice.guard.callers import Caller
from cardd_webservice.guard.policy import Demand


class Judgement(NamedTuple):
    """Who sent a request, and what that was judged by."""

    header_lines: RawHeaders
    demand: Demand
    rotations: int
    """How often the owner's token had been replaced before the request was judged."""
    caller: Caller

    def covers(self, request: web.Request, demand: Demand) -> bool:
        """Tell whether another request on the same connection says the same, and is asked the same."""
        return (
            self.header_lines == request.raw_headers
            and self.demand == demand
            # An absolute target would override the `Host` (RFC 9112 §3.2.2).
            and request.raw_path.startswith("/")
        )
