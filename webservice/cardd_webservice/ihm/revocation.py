"""`/revoquer`: what revoking means, a typed confirmation, and the end of a certificate."""

from aiohttp import web

from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.orders.errors import AlreadyRevokedError
from cardd.orders.filters import CertificateFilters
from cardd.orders.paging import PageRequest
from cardd.orders.sorting import CertificateSort
from cardd.orders.types import CertificateState, RevocationRequest
from cardd.text import Text
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, sent, shown

_PAGE = 25
_NOT_THE_NAME = Text("is not the name of this certificate", "n’est pas le nom de ce certificat")
_NO_REASON = Text("is to be chosen", "est à choisir")


async def list_revocable(visit: Visit) -> web.StreamResponse:
    """Show the certificates that can be revoked."""
    page = PageRequest(limit=_PAGE, cursor=visit.query("suite")[:256] or None)
    expiring = visit.query("etat") == CertificateState.RENEWABLE.value
    state = CertificateState.RENEWABLE if expiring else CertificateState.ACTIVE
    sort = CertificateSort.EXPIRY if expiring else CertificateSort.NEWEST
    filters = CertificateFilters(state=state, q=visit.query("q")[:200] or None, sort=sort)
    found = await visit.services.certificates.list(filters, page, visit.card)
    return visit.page("revoke_list.html", certificates=found, state=state.value)


async def ask(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Spell out what revoking this certificate means."""
    certificate = await visit.services.certificates.get(visit.path("serial").lower(), visit.card)
    return visit.page("revoke.html", certificate=certificate, error=error)


async def revoke(visit: Visit) -> web.StreamResponse:
    """Revoke it, once its name was typed and a reason chosen."""
    form = visit.form
    certificate = await visit.services.certificates.get(visit.path("serial").lower(), visit.card)
    problems = []
    if not form.text("reason"):
        problems.append(FieldProblem("reason", _NO_REASON))
    if form.text("confirmation").casefold() != certificate.common_name.casefold():
        problems.append(FieldProblem("confirmation", _NOT_THE_NAME))
    try:
        if problems:
            raise InvalidFieldsError(problems)
        request = request_of(RevocationRequest, reason=form.text("reason"))
        await visit.services.certificates.revoke(certificate.serial, request, visit.card)
    except AlreadyRevokedError as error:
        return visit.redirect(f"/suivre/certificats/{certificate.serial}", error.detail)
    except CarddError as error:
        return await ask(visit, error)
    return visit.redirect(
        f"/suivre/certificats/{certificate.serial}",
        Text(
            "The certificate is revoked; lists and OCSP say so already.",
            "Le certificat est révoqué ; les listes et OCSP le disent déjà.",
        ),
    )


ROUTES = (
    shown("/revoquer", list_revocable),
    shown("/revoquer/{serial}", ask),
    sent("/revoquer/{serial}", revoke),
)
