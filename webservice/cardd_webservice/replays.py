"""What a request made, rendered again for its repetition after a crash (see `idempotency`)."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from cardd_webservice.services import Services


async def _crl(services: Services, subject: str) -> msgspec.Struct:
    return services.revocation.get(subject)


_VIEWS: Mapping[str, Callable[[Services, str], Awaitable[msgspec.Struct]]] = {
    "order": lambda services, subject: services.orders.get(subject, None),
    "certificate": lambda services, subject: services.certificates.get(subject, None),
    "habilitation": lambda services, subject: services.habilitations.get(subject),
    "card": lambda services, subject: services.cards.get(subject),
    "crl": _crl,
    "application": lambda services, subject: services.applications.get(subject),
}


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a request made, where there is no view of it."""

    kind: str
    subject: str


async def rendered(services: Services, kind: str, subject: str) -> msgspec.Struct:
    """Return the view of what was made, as it is now."""
    view = _VIEWS.get(kind)
    return Made(kind=kind, subject=subject) if view is None else await view(services, subject)
