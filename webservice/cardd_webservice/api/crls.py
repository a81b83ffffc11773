"""The revocation lists that the daemon keeps for applications."""

from http import HTTPMethod, HTTPStatus
from typing import Annotated, Any

import msgspec
from aiohttp import web
from msgspec import Meta

from cardd.errors import NotFoundError
from cardd.orders.paging import DEFAULT_LIMIT, Page, PageRequest
from cardd.revocation.errors import (
    FetchFailedError,
    IndexerLostError,
    ListRefusedError,
    ListUnavailableError,
    SourceFixedError,
    SourceKnownError,
)
from cardd.revocation.prepared import AuthorityNotHeldError
from cardd.revocation.sources import read_certificate
from cardd.revocation.types import CrlRequest, CrlView, PreparedList
from cardd.text import Language, preferred_language
from cardd_webservice.files import HeldFile
from cardd_webservice.operations import READ, VALIDATE, Call, Nothing, Operation, Parameter, Reply
from cardd_webservice.paging import Cursor, Limit, page_of
from cardd_webservice.publication import CRL_TYPE

_TAG = "Revocation data"
_ID = Parameter("id", "Identifier of the list.", example="ACI-EL-ORG-TEST")
_NAME = Parameter("name", "Name of the prepared list.", example="ACI-EL-ORG-TEST")


class CrlQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Which part of the lists is asked for."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None


class LearningRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A certificate whose lists are to be kept."""

    certificate: Annotated[str, Meta(max_length=64 * 1024, description="PEM, or DER in base64.")]


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """The lists that are new."""

    items: tuple[CrlView, ...]


class PreparedLists(msgspec.Struct, frozen=True, kw_only=True):
    """Every prepared list, roots first."""

    items: tuple[PreparedList, ...]


async def list_crls(call: Call[CrlQuery]) -> Reply:
    """Answer the lists kept, by identifier."""
    page = PageRequest(limit=call.given.limit, cursor=call.given.cursor)
    found = call.services.revocation.lists(_language(call))
    return Reply(page_of(found, lambda each: each.id, page))


async def get_crl(call: Call[Nothing]) -> Reply:
    """Answer one list's state."""
    return Reply(call.services.revocation.get(call.path("id"), _language(call)))


async def get_der(call: Call[Nothing]) -> web.StreamResponse:
    """Answer the list as held, DER: with ETag and Last-Modified, 304, and ranges (RFC 9110 §13, §14)."""
    return HeldFile(
        call.services.revocation.file(call.path("id")),
        headers={
            "Content-Type": CRL_TYPE,
            "Cache-Control": "private, no-cache",
            "Content-Disposition": f'attachment; filename="{call.path("id")}.crl"',
        },
    )


async def add_crl(call: Call[CrlRequest]) -> Reply:
    """Keep a list from now on; its first fetch goes on after the answer."""
    return Reply(await call.services.revocation.add(call.given), status=HTTPStatus.CREATED)


async def refresh_crl(call: Call[Nothing]) -> Reply:
    """Fetch a list now; the answer comes when it is indexed, or says why it was not taken."""
    return Reply(await call.services.revocation.refresh(call.path("id")))


async def remove_crl(call: Call[Nothing]) -> Reply:
    """Forget a list."""
    await call.services.revocation.remove(call.path("id"))
    return Reply(status=HTTPStatus.NO_CONTENT)


async def learn_crls(call: Call[LearningRequest]) -> Reply:
    """Keep the lists that a certificate and the CAs above it name. Its issuer has to be known here, and the addresses
    have to be public ones.
    """
    certificate = read_certificate(call.given.certificate, "certificate")
    return Reply(Learnt(items=tuple(await call.services.learner.learn(certificate))))


async def list_prepared(call: Call[Nothing]) -> Reply:
    """Answer the lists that are known and off until somebody switches them on: those of IGC-Santé TEST."""
    return Reply(PreparedLists(items=tuple(await call.services.prepared.all(_language(call)))))


async def enable_prepared(call: Call[Nothing]) -> Reply:
    """Keep a prepared list from now on; its first fetch goes on after the answer."""
    return Reply(await call.services.prepared.enable(call.path("name")))


async def disable_prepared(call: Call[Nothing]) -> Reply:
    """Forget a prepared list."""
    await call.services.prepared.disable(call.path("name"))
    return Reply(status=HTTPStatus.NO_CONTENT)


def _language(call: Call[Any]) -> Language:
    return preferred_language(call.request.headers.get("Accept-Language", ""))


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/crls",
        handler=list_crls,
        scopes=READ | VALIDATE,
        takes=CrlQuery,
        answers=Page[CrlView],
        summary="List the revocation lists kept",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/crls",
        handler=add_crl,
        takes=CrlRequest,
        answers=CrlView,
        summary="Keep a revocation list",
        tag=_TAG,
        status=HTTPStatus.CREATED,
        errors=(SourceKnownError,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/crls/{id}.crl",
        handler=get_der,
        scopes=READ | VALIDATE,
        takes=Nothing,
        answers=bytes,
        summary="Download a revocation list as held",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError, ListUnavailableError),
        media_types=(CRL_TYPE,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/crls/{id}",
        handler=get_crl,
        scopes=READ | VALIDATE,
        takes=Nothing,
        answers=CrlView,
        summary="Show a revocation list's state",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError,),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path="/crls/{id}",
        handler=remove_crl,
        takes=Nothing,
        answers=None,
        summary="Forget a revocation list",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_ID,),
        errors=(NotFoundError, SourceFixedError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/crls/{id}/refresh",
        handler=refresh_crl,
        takes=Nothing,
        answers=CrlView,
        summary="Fetch a revocation list now",
        tag=_TAG,
        parameters=(_ID,),
        errors=(NotFoundError, FetchFailedError, ListRefusedError, IndexerLostError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/learned-crls",
        handler=learn_crls,
        takes=LearningRequest,
        answers=Learnt,
        summary="Keep the revocation lists that a certificate names",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/prepared-crls",
        handler=list_prepared,
        scopes=READ | VALIDATE,
        takes=Nothing,
        answers=PreparedLists,
        summary="List the prepared revocation lists",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.PUT,
        path="/prepared-crls/{name}",
        handler=enable_prepared,
        takes=Nothing,
        answers=CrlView,
        summary="Switch a prepared revocation list on",
        tag=_TAG,
        parameters=(_NAME,),
        errors=(NotFoundError, AuthorityNotHeldError),
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path="/prepared-crls/{name}",
        handler=disable_prepared,
        takes=Nothing,
        answers=None,
        summary="Switch a prepared revocation list off",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_NAME,),
        errors=(NotFoundError, SourceFixedError),
    ),
)
