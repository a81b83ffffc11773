"""Who calls: from the connection and the bearer token to one kind of caller."""

from dataclasses import dataclass
from functools import cached_property

from aiohttp import hdrs, web

from cardd.applications.registry import Applications
from cardd.applications.types import ApplicationView
from cardd.text import Text
from cardd_webservice.errors import TooManyAttemptsError, UnauthenticatedError
from cardd_webservice.guard.limits import Attempts
from cardd_webservice.guard.policy import CallerKind
from cardd_webservice.guard.tokens import OwnerToken

_ANONYMOUS = "anonymous"
_OWNER = "owner"


@dataclass(frozen=True)
class Caller:
    """Who calls; `origin` is that of a page which is not one of ours."""

    kind: CallerKind
    application: ApplicationView | None = None
    origin: str | None = None

    @cached_property
    def name(self) -> str:
        """Return the caller as the journal names it."""
        if self.application is not None:
            return f"application:{self.application.id}"
        return _OWNER if self.kind in (CallerKind.OWNER, CallerKind.BROWSER) else _ANONYMOUS

    @property
    def account(self) -> str:
        """Return what tells apart whose requests an `Idempotency-Key` names."""
        return f"{self.name} {self.origin}" if self.origin is not None else self.name


#: Callers without a token, in no page.
ANONYMOUS = Caller(CallerKind.USER)
ANOTHER_USER = Caller(CallerKind.OTHER_USER)
_THE_OWNER = Caller(CallerKind.OWNER)


class Callers:
    """Knows who holds which token, and how many wrong ones came."""

    def __init__(
        self, owner: OwnerToken, applications: Applications, wrong: Attempts, *, others_may_hold_tokens: bool
    ) -> None:
        self._owner = owner
        self._applications = applications
        self._wrong = wrong
        self._others_may_hold_tokens = others_may_hold_tokens

    @property
    def rotations(self) -> int:
        """How often the owner's token was replaced."""
        return self._owner.rotations

    def still_good(self, caller: Caller, rotations: int) -> bool:
        """Tell at once whether the token that a caller was identified by would identify it now.

        `rotations` is that of the moment before it was identified. Where this is not so, the token may have ended,
        or only has to be looked at again.
        """
        if caller.application is not None:
            return self._applications.still_lets_in(caller.application)
        return caller.kind is CallerKind.OWNER and rotations == self._owner.rotations

    async def identify(self, request: web.Request, *, is_this_user: bool, origin: str | None) -> Caller:
        """Return who calls with a bearer token, or without.

        Raises:
            UnauthenticatedError: a token that nobody holds, or not a token.
            TooManyAttemptsError: after many of those.
        """
        presented = request.headers.getall(hdrs.AUTHORIZATION, ())
        if not presented:
            return Caller(CallerKind.USER if is_this_user else CallerKind.OTHER_USER, origin=origin)
        scheme, _, value = presented[0].partition(" ")
        caller = None
        if len(presented) == 1 and scheme.lower() == "bearer":
            caller = await self._holder_of(value.strip(), is_this_user=is_this_user, origin=origin)
        if caller is not None:
            return caller
        raise self._refusal()

    async def _holder_of(self, token: str, *, is_this_user: bool, origin: str | None) -> Caller | None:
        if self._owner.matches(token):
            if is_this_user and origin is None:
                return _THE_OWNER
            return Caller(CallerKind.OWNER if is_this_user else CallerKind.OTHER_USER, origin=origin)
        application = await self._applications.holder_of(token)
        if application is None:
            return None
        if not is_this_user and not self._others_may_hold_tokens:
            return Caller(CallerKind.OTHER_USER, origin=origin)
        return Caller(CallerKind.APPLICATION, application, origin)

    def _refusal(self) -> UnauthenticatedError | TooManyAttemptsError:
        wait = self._wrong.wait("tokens")
        if wait:
            return TooManyAttemptsError(
                Text("Too many wrong tokens came.", "Trop de jetons faux ont été présentés."),
                retry_after=wait,
            )
        self._wrong.count("tokens")
        return UnauthenticatedError(
            Text("Nobody holds this token.", "Ce jeton n’est à personne."), presented=True
        )


CALLERS: web.AppKey[Callers] = web.AppKey("callers", Callers)
#: Who sent a request.
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
