"""`/suivre`: orders and certificates, found and followed; a certificate's downloads."""

from enum import StrEnum
from typing import TypeVar
from urllib.parse import quote

from aiohttp import web

from cardd.errors import CarddError, NotFoundError
from cardd.orders.errors import PrivateKeyStaysError
from cardd.orders.filters import CertificateFilters, OrderFilters
from cardd.orders.offers import USAGE_LABELS
from cardd.orders.paging import PageRequest
from cardd.orders.sorting import CertificateSort, OrderSort
from cardd.orders.types import CertificateState, CertificateView, Offer, OrderState, RenewalRequest
from cardd.text import Text
from cardd_webservice.ihm.visit import Visit, sent, shown
from cardd_webservice.pem import pem_chain

_PAGE = 25
_MODULE = "/usr/lib/softhsm/libsofthsm2.so"

S = TypeVar("S", bound=StrEnum)


async def list_certificates(visit: Visit) -> web.StreamResponse:
    """Show the certificates that match."""
    sort = _member(CertificateSort, visit.query("tri")) or CertificateSort.NEWEST
    filters = CertificateFilters(
        state=_member(CertificateState, visit.query("etat")),
        offer=_member(Offer, visit.query("offre")),
        q=_sought(visit),
        sort=sort,
    )
    found = await visit.services.certificates.list(filters, _page(visit), visit.card)
    return visit.page(
        "track_certificates.html", certificates=found, states=CertificateState, offers=Offer, sort=sort.value
    )


async def list_orders(visit: Visit) -> web.StreamResponse:
    """Show the orders that match."""
    sort = _member(OrderSort, visit.query("tri")) or OrderSort.NEWEST
    filters = OrderFilters(
        state=_member(OrderState, visit.query("etat")),
        offer=_member(Offer, visit.query("offre")),
        q=_sought(visit),
        sort=sort,
    )
    found = await visit.services.orders.list(filters, _page(visit), visit.card)
    return visit.page("track_orders.html", orders=found, states=OrderState, offers=Offer, sort=sort.value)


async def show_order(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Show one order with its history."""
    order = await visit.services.orders.get(visit.path("id"), visit.card)
    return visit.page("order.html", order=order, usage_labels=USAGE_LABELS, error=error)


async def cancel_order(visit: Visit) -> web.StreamResponse:
    """Cancel an order that waits to be retrieved."""
    try:
        order = await visit.services.orders.cancel(visit.path("id"), visit.card)
    except CarddError as error:
        return await show_order(visit, error)
    return visit.redirect(
        f"/suivre/commandes/{order.id}",
        Text("The order is cancelled, its key destroyed.", "La commande est annulée, sa clé détruite."),
    )


async def show_certificate(visit: Visit, error: CarddError | None = None) -> web.StreamResponse:
    """Show one certificate: what it says, how to use it, and its history."""
    certificate = await _certificate(visit)
    return visit.page(
        "certificate.html",
        certificate=certificate,
        usage_labels=USAGE_LABELS,
        module=await _module_of(visit, certificate),
        error=error,
    )


async def renew(visit: Visit) -> web.StreamResponse:
    """Order the successor of a certificate."""
    if visit.card is None:
        return visit.redirect("/demander")
    card, serial = visit.card, visit.path("serial").lower()

    async def perform() -> str:
        order = await visit.services.certificates.renew(serial, RenewalRequest(), card)
        return f"/retirer/{order.id}"

    try:
        location = await visit.once(perform)
    except CarddError as error:
        return await show_certificate(visit, error)
    return visit.redirect(
        location,
        Text(
            "The successor is ordered, with a new key: retrieve it now, or later.",
            "Le successeur est commandé, avec une nouvelle clé : retirez-le maintenant, ou plus tard.",
        ),
    )


async def download(visit: Visit) -> web.StreamResponse:
    """Hand out a certificate as DER, as PEM, or as PEM with its chain."""
    certificate = await _certificate(visit)
    match visit.path("kind"):
        case "certificat.cer":
            body, media_type = certificate.certificate, "application/pkix-cert"
        case "certificat.pem":
            body, media_type = pem_chain((certificate.certificate,)), "application/x-pem-file"
        case "chaine.pem":
            whole = (certificate.certificate, *certificate.chain)
            body, media_type = pem_chain(whole), "application/pem-certificate-chain"
        case "certificat.p12" | "certificat.pfx":
            raise PrivateKeyStaysError.of_certificate()
        case other:
            raise NotFoundError.of(Text("download", "téléchargement"), other)
    name = f"{certificate.serial[:16]}-{visit.path('kind')}"
    return web.Response(
        body=body,
        content_type=media_type,
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


async def _certificate(visit: Visit) -> CertificateView:
    return await visit.services.certificates.get(visit.path("serial").lower(), visit.card)


def _member(kind: type[S], value: str) -> S | None:
    return next((member for member in kind if member.value == value), None)


def _sought(visit: Visit) -> str | None:
    return visit.query("q")[:200] or None


async def _module_of(visit: Visit, certificate: CertificateView) -> str:
    """Return the path of the module that holds the certificate's key, SoftHSM's where that is not known."""
    uri = certificate.pkcs11_uri or ""
    for token in await visit.services.tokens():
        if f"token={quote(token.label, safe='')};" in uri:
            return token.module_path
    return _MODULE


def _page(visit: Visit) -> PageRequest:
    return PageRequest(limit=_PAGE, cursor=visit.query("suite")[:256] or None)


ROUTES = (
    shown("/suivre", list_certificates),
    shown("/suivre/commandes", list_orders),
    shown("/suivre/commandes/{id}", show_order),
    sent("/suivre/commandes/{id}/annuler", cancel_order),
    shown("/suivre/certificats/{serial}", show_certificate),
    sent("/suivre/certificats/{serial}/renouveler", renew),
    shown("/suivre/certificats/{serial}/{kind}", download),
)
