"""Revocation data and CA certificates, published for everybody on this machine.

Lists and certificates must be asked for again each time (`no-cache`), since a revocation shows in them
at once; an unchanged one costs a 304 (RFC 9111 §5.2.2.4).
"""

import asyncio
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from typing import NamedTuple

from aiohttp import hdrs, web
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.errors import NotFoundError
from cardd.igc.chain import every_authority, p7b
from cardd.igc.names import LIST_RESPONDER, CaName
from cardd.igc.ocsp import OcspReply
from cardd.igc.publishing import ListKind
from cardd.text import Text
from cardd_webservice.guard.bodies import read_body
from cardd_webservice.operations import SERVICES
from cardd_webservice.services import Services
from cardd_webservice.whole import AnswerKind, WholeAnswer

CRL_TYPE = "application/pkix-crl"
CERTIFICATE_TYPE = "application/pkix-cert"
CHAIN_TYPE = "application/x-pkcs7-certificates"
OCSP_REQUEST_TYPE = "application/ocsp-request"
OCSP_TYPE = "application/ocsp-response"

_DELTA = "-delta"
_UNCACHED_OCSP = AnswerKind({hdrs.CONTENT_TYPE: OCSP_TYPE, hdrs.CACHE_CONTROL: "no-store"}, guarded=False)


async def crl(request: web.Request) -> web.Response:
    """Answer `/CRL/{name}.crl` or `/CRL/{name}-delta.crl`, DER (RFC 5280 §4.2.1.13, RFC 2585 §4.2)."""
    given = request.match_info["name"]
    kind = ListKind.DELTA if given.endswith(_DELTA) else ListKind.FULL
    services = request.app[SERVICES]
    name = _published(services, given.removesuffix(_DELTA))
    published = services.pki.lists.current(name, kind)
    filename = f"{given}.crl"
    document = _Document(published.der, published.sha256, CRL_TYPE, published.this_update, filename)
    return _answered(request, document)


async def certificate(request: web.Request) -> web.Response:
    """Answer `/AC/{name}.cer`, DER (RFC 2585 §4.1): of a CA, or of the OCSP responder for lists of others."""
    given = request.match_info["name"]
    services = request.app[SERVICES]
    responder = services.list_ocsp.certificate
    if given == LIST_RESPONDER and responder is not None:
        found = responder
    else:
        found = services.pki.authorities[_published(services, given)].certificate
    der = found.public_bytes(Encoding.DER)
    made, filename = found.not_valid_before_utc, f"{given}.cer"
    return _answered(request, _Document(der, sha256(der).hexdigest(), CERTIFICATE_TYPE, made, filename))


async def chain(request: web.Request) -> web.Response:
    """Answer `/AC/chain.p7b`: the certificates of all CAs, PKCS#7 in DER (RFC 5652 §5)."""
    certificates = every_authority(request.app[SERVICES].pki.authorities)
    newest = max((found.not_valid_before_utc for found in certificates), default=datetime.now(UTC))
    bundle = await asyncio.to_thread(p7b, certificates)
    document = _Document(bundle, sha256(bundle).hexdigest(), CHAIN_TYPE, newest, "chain.p7b")
    return _answered(request, document)


async def ocsp_post(request: web.Request) -> web.StreamResponse:
    """Answer an OCSP request sent in a body (RFC 6960 appendix A.1)."""
    body = await read_body(request, OCSP_REQUEST_TYPE)
    services = request.app[SERVICES]
    return _ocsp_response(request, await services.pki.ocsp.answer_post(body, services.clock.now()))


async def ocsp_get(request: web.Request) -> web.StreamResponse:
    """Answer an OCSP request sent in the path, base64 (RFC 5019 §5)."""
    services = request.app[SERVICES]
    encoded = request.match_info["request"]
    return _ocsp_response(request, await services.pki.ocsp.answer_get(encoded, services.clock.now()))


def add_publication(router: web.UrlDispatcher) -> list[web.AbstractRoute]:
    """Add the published paths; return their routes."""
    documents = (
        ("/CRL/{name}.crl", crl),
        ("/AC/chain.p7b", chain),
        ("/AC/{name}.cer", certificate),
        ("/ocsp/{request:.+}", ocsp_get),
    )
    routes: list[web.AbstractRoute] = [router.add_post("/ocsp", ocsp_post)]
    for path, handler in documents:
        resource = router.add_resource(path)
        routes += [resource.add_route(method, handler) for method in (hdrs.METH_GET, hdrs.METH_HEAD)]
    return routes


def _published(services: Services, given: str) -> CaName:
    try:
        name = CaName(given)
        services.pki.authorities[name]
    except (ValueError, KeyError):
        raise NotFoundError.of(Text("certification authority", "autorité de certification"), given) from None
    return name


class _Document(NamedTuple):
    content: bytes
    sha256: str
    media_type: str
    modified: datetime
    filename: str


def _answered(request: web.Request, document: _Document) -> web.Response:
    """Answer a document, or 304 where the caller holds it already (RFC 9110 §13.1)."""
    etag = document.sha256[:32]
    unchanged = _held(request, etag, document.modified)
    response = web.Response(
        status=HTTPStatus.NOT_MODIFIED if unchanged else HTTPStatus.OK,
        body=None if unchanged else document.content,
    )
    response.etag = etag
    response.last_modified = document.modified
    response.headers[hdrs.CACHE_CONTROL] = "public, no-cache"
    if not unchanged:
        response.content_type = document.media_type
        response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{document.filename}"'
    return response


def _held(request: web.Request, etag: str, modified: datetime) -> bool:
    """Tell whether the caller's copy is current; `If-None-Match` goes before the date (RFC 9110 §13.2.2)."""
    if hdrs.IF_NONE_MATCH in request.headers:
        return any(given.value in ("*", etag) for given in request.if_none_match or ())
    since = request.if_modified_since
    return since is not None and modified.replace(microsecond=0) <= since


def _ocsp_response(request: web.Request, reply: OcspReply) -> web.StreamResponse:
    if reply.max_age is None or request.method == hdrs.METH_POST:
        return WholeAnswer(_UNCACHED_OCSP, reply.body)
    response = web.Response(body=reply.body, content_type=OCSP_TYPE)
    response.headers[hdrs.CACHE_CONTROL] = f"public, no-transform, must-revalidate, max-age={reply.max_age}"
    response.last_modified = reply.last_modified
    if reply.expires is not None:
        response.headers[hdrs.EXPIRES] = f"{reply.expires:%a, %d %b %Y %H:%M:%S} GMT"
    if reply.etag is not None:
        response.etag = reply.etag.strip('"')
    return response
