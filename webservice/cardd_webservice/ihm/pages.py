"""The public pages: the state of the daemon and the policy of its test PKI. No personal data."""

from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from aiohttp import hdrs, web
from jinja2 import Environment, PackageLoader, StrictUndefined

from cardd import __version__
from cardd.text import Language, preferred_language
from cardd_webservice.guard.policy import PAGE_SECURITY_POLICY, Access
from cardd_webservice.operations import SERVICES

STATIC = Path(__file__).parent / "static"
_LANGUAGES: Mapping[str, Language] = {"fr": "fr", "en": "en"}

_templates = Environment(
    loader=PackageLoader("cardd_webservice.ihm", "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


async def state_page(request: web.Request) -> web.Response:
    """Answer `/`: that the daemon runs, what is in its readers, and where to go."""
    services = request.app[SERVICES]
    readers = await services.presence.readers()
    present = sum(reader.card is not None for reader in readers)
    return _page(request, "state", cards_present=present, readers=len(readers))


async def policy_page(request: web.Request) -> web.Response:
    """Answer `/PC`: what the test PKI is, what its certificates are not, and its authorities."""
    authorities = sorted(request.app[SERVICES].pki.authorities)
    return _page(request, "policy", authorities=authorities, settings=request.app[SERVICES].settings.pki)


def add_pages(router: web.UrlDispatcher) -> dict[web.AbstractRoute, Access]:
    """Add the pages and their stylesheet; return what each route asks of its callers."""
    access: dict[web.AbstractRoute, Access] = {}
    for path, handler, asked in (
        ("/", state_page, Access.PUBLIC),
        ("/PC", policy_page, Access.PUBLICATION),
    ):
        resource = router.add_resource(path)
        for method in (hdrs.METH_GET, hdrs.METH_HEAD):
            access[resource.add_route(method, handler)] = asked
    for route in router.add_static("/static", STATIC, append_version=False):
        access[route] = Access.PUBLIC
    return access


def _page(request: web.Request, name: str, **values: Any) -> web.Response:
    language = _language(request)
    template = _templates.get_template(f"{name}.{language}.html")
    text = template.render(language=language, path=request.path, version=__version__, **values)
    return web.Response(
        status=HTTPStatus.OK,
        text=text,
        content_type="text/html",
        charset="utf-8",
        headers={
            "Content-Security-Policy": PAGE_SECURITY_POLICY,
            "Content-Language": language,
            "Cache-Control": "no-store",
            "Vary": "Accept-Language",
        },
    )


def _language(request: web.Request) -> Language:
    """Choose by `?lang=`, else by the browser; French where neither says."""
    asked = _LANGUAGES.get(request.query.get("lang", ""))
    return asked or preferred_language(request.headers.get("Accept-Language", ""), default="fr")
