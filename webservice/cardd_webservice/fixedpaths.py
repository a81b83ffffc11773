"""Paths without a variable part: their requests are led to the handler by one look-up.

The framework's router walks up each path from part to part, and the match that it makes, and the middleware around
the handler, are made anew for each request. For a path that is written out in its route they are always the same, and
are made once. All other requests take the framework's way, which leads through the same middleware.
"""

from collections.abc import Awaitable, Callable

from aiohttp import hdrs, web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
#: What a server of the framework hands its requests to; those of an application are all `web.Request`.
ServerHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
Middleware = Callable[[web.Request, Handler], Awaitable[web.StreamResponse]]


class FixedPaths:
    """The routes of an application whose paths are fixed; `middleware` is the application's only one."""

    def __init__(self, application: web.Application, middleware: Middleware) -> None:
        self._middleware = middleware
        self._matches: dict[tuple[str, str], web.UrlMappingMatchInfo] = {}
        for route in application.router.routes():
            if isinstance(route.resource, web.PlainResource):
                match = web.UrlMappingMatchInfo({}, route)
                match.add_app(application)
                match.freeze()
                self._matches.setdefault((route.method, route.resource.canonical), match)

    def before(self, otherwise: ServerHandler) -> ServerHandler:
        """Return what answers requests of these paths, and leaves all others to `otherwise`."""
        matches, middleware = self._matches, self._middleware

        def answer(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            # As it came: a path that is written in another way, such as with `%`, is the router's to understand.
            match = matches.get((request.method, request.rel_url.raw_path))
            if match is None or not isinstance(request, web.Request) or hdrs.EXPECT in request.headers:
                return otherwise(request)
            request._match_info = match  # as the framework does, which knows no other way to say so
            return middleware(request, match.handler)

        return answer


FIXED_PATHS: web.AppKey[FixedPaths] = web.AppKey("fixed_paths", FixedPaths)
