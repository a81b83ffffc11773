"""One request of a page: who visits, in which language, with which card, and the answers that pages give."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPMethod, HTTPStatus
from typing import Any
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup
from yarl import URL

from cardd import __version__
from cardd.cards.errors import CardSessionEndedError, CardSessionRequiredError
from cardd.cards.sessions import CardSession
from cardd.errors import CarddError, InvalidFieldsError
from cardd.orders.paging import Page
from cardd.text import Language, Text
from cardd_webservice.guard.browsers import LIVE_HEADER, BrowserSession
from cardd_webservice.guard.policy import (
    PAGE_REFERRER_POLICY,
    PAGE_SECURITY_POLICY,
    SIGNED_IN_SECURITY_POLICY,
    Access,
)
from cardd_webservice.ihm import language as languages
from cardd_webservice.ihm import words
from cardd_webservice.ihm.forms import NONCE_FIELD, TOKEN_FIELD, Form
from cardd_webservice.services import Services

_LANGUAGE_SECONDS = 365 * 86400
#: Forms sent whose outcome a session remembers.
_REMEMBERED = 50


@dataclass
class Visit:
    """A request of a page, with all that its handler works with."""

    request: web.Request
    services: Services
    language: Language
    browser: BrowserSession | None
    card: CardSession | None = None
    #: Number of the newest event when the visit began; the page's news begin after it.
    newest_event: int | None = None
    form: Form = field(default_factory=Form)

    @property
    def session(self) -> BrowserSession:
        """The signed-in session of a page that asks for one."""
        if self.browser is None:
            raise RuntimeError("the page is not declared with Access.PAGE")
        return self.browser

    def path(self, name: str) -> str:
        """Return a part of the path."""
        return self.request.match_info[name]

    def query(self, name: str) -> str:
        """Return a parameter of the query, empty where it is not given."""
        return self.request.query.get(name, "").strip()

    def page(
        self, template: str, *, status: int = HTTPStatus.OK, error: CarddError | None = None, **values: Any
    ) -> web.Response:
        """Answer with a page; an `error` is told at its top, and beside the fields it names."""
        notice = None
        if self.browser is not None:
            notice = self.browser.notice
            # An open page that refreshes itself must not take what another page is about to say.
            if LIVE_HEADER not in self.request.headers:
                self.browser.notice = None
        text = _environment.get_template(template).render(
            visit=self, language=self.language, notice=notice, error=error,
            problems=problems_of(error, self.language), form=self.form, now=self.services.clock.now(),
            words=words, version=__version__, **values,
        )  # fmt: skip
        signed_in = self.browser is not None
        response = web.Response(
            status=error.status if error is not None else status,
            text=text,
            content_type="text/html",
            charset="utf-8",
            headers={
                "Content-Security-Policy": SIGNED_IN_SECURITY_POLICY if signed_in else PAGE_SECURITY_POLICY,
                **({"Referrer-Policy": PAGE_REFERRER_POLICY} if signed_in else {}),
                "Content-Language": self.language,
                "Cache-Control": "no-store",
                "Vary": "Accept-Language, Cookie",
            },
        )
        if languages.asked_language(self.request) is not None:
            response.set_cookie(
                languages.LANGUAGE_COOKIE, self.language, max_age=_LANGUAGE_SECONDS, path="/",
                httponly=True, samesite="Strict",
            )  # fmt: skip
        return response

    def redirect(self, location: str, notice: Text | None = None) -> web.Response:
        """Lead to another page, which says `notice` first."""
        if self.browser is not None and notice is not None:
            self.browser.notice = notice
        return web.Response(
            status=HTTPStatus.SEE_OTHER, headers={"Location": location, "Cache-Control": "no-store"}
        )

    async def once(self, perform: Callable[[], Awaitable[str]]) -> str:
        """Perform what a form asks for, and return where it leads; a second click leads there too.

        A form whose work failed may be sent again.
        """
        nonce, done = self.form.text(NONCE_FIELD), self.session.done
        if nonce and nonce in done:
            return await asyncio.shield(done[nonce])
        work: asyncio.Future[str] = asyncio.ensure_future(perform())
        if nonce:
            done[nonce] = work
            work.add_done_callback(partial(_forget_failure, self.session, nonce))
            while len(done) > _REMEMBERED:
                done.popitem(last=False)
        return await asyncio.shield(work)

    def with_query(self, **changes: str | None) -> str:
        """Return the address of this page with parameters of its query changed or taken away."""
        page = self._page()
        query = {name: value for name, value in {**page.query, **changes}.items() if value}
        return page.path + (f"?{urlencode(query)}" if query else "")

    def _page(self) -> URL:
        """Return the address of the page that is looked at: of a form that was sent, the page it was on."""
        request = self.request
        if request.method in (HTTPMethod.GET, HTTPMethod.HEAD):
            return request.rel_url
        try:
            referrer = URL(request.headers.get("Referer", ""))
        except ValueError:
            return URL("/")
        return (
            referrer.relative()
            if referrer.absolute and referrer.origin() == request.url.origin()
            else URL("/")
        )

    def next_page(self, page: Page[Any]) -> str | None:
        """Return the address of the page of a list that follows `page`."""
        return self.with_query(suite=page.next_cursor) if page.next_cursor else None


Handler = Callable[[Visit], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class PageRoute:
    """A page or a form, and what it asks of its callers."""

    path: str
    handler: Handler
    method: HTTPMethod = HTTPMethod.GET
    access: Access = Access.PAGE


def shown(path: str, handler: Handler) -> PageRoute:
    """Declare a page for who is signed in."""
    return PageRoute(path, handler)


def sent(path: str, handler: Handler) -> PageRoute:
    """Declare a form of such a page."""
    return PageRoute(path, handler, HTTPMethod.POST, Access.FORM)


async def card_of(services: Services, browser: BrowserSession) -> CardSession | None:
    """Return the card session opened from this browser; where it has ended, the next page says why."""
    if browser.card_session is None:
        return None
    try:
        return await services.sessions.get(browser.card_session)
    except (CardSessionEndedError, CardSessionRequiredError) as error:
        browser.card_session = None
        browser.notice = Text(
            f"The card session is over. {error.detail.en}",
            f"La session de carte est terminée. {error.detail.fr}",
        )
        return None


def _forget_failure(session: BrowserSession, nonce: str, work: asyncio.Future[str]) -> None:
    if work.cancelled() or work.exception() is not None:
        session.done.pop(nonce, None)


def problems_of(error: CarddError | None, language: Language) -> Mapping[str, str]:
    """Return what is wrong with each field that the error names."""
    if not isinstance(error, InvalidFieldsError):
        return {}
    found: dict[str, str] = {}
    for each in error.fields:
        # The third of several names, `fqdn.2`, is a line of the field `fqdn`.
        name = each.field.rstrip("0123456789").rstrip(".")
        found.setdefault(name, languages.typeset(each.problem.in_language(language), language))
    return found


@pass_context
def _say(context: Context, french: str, english: str) -> Markup:
    language: Language = context["language"]
    return languages.prose(french if language == "fr" else english, language)


@pass_context
def _prose(context: Context, text: Text | str) -> Markup:
    return languages.prose(text, context["language"])


@pass_context
def _day(context: Context, moment: Any) -> Markup:
    return _time(moment, languages.day(moment, context["language"]))


@pass_context
def _moment(context: Context, moment: Any) -> Markup:
    return _time(moment, languages.clock_time(moment, context["language"]))


@pass_context
def _span(context: Context, length: Any) -> str:
    return languages.span(length, context["language"])


@pass_context
def _number(context: Context, value: int) -> str:
    return languages.number(value, context["language"])


@pass_context
def _secret_fields(context: Context) -> Markup:
    """Return the hidden fields that every form carries."""
    browser: BrowserSession = context["visit"].session
    hidden = Markup('<input type="hidden" name="{}" value="{}">')
    nonce = secrets.token_urlsafe(12)
    return hidden.format(TOKEN_FIELD, browser.form_token) + hidden.format(NONCE_FIELD, nonce)


def _time(moment: Any, shown_as: str) -> Markup:
    return Markup('<time datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), shown_as)


def _make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("cardd_webservice.ihm", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(_=_say, hidden=_secret_fields)
    environment.filters.update(
        prose=_prose, day=_day, moment=_moment, span=_span, number=_number, who=words.actor_words
    )
    return environment


_environment = _make_environment()
