"""The authorities of the test PKI."""

from datetime import datetime
from http import HTTPMethod
from typing import Any

import msgspec
from cryptography.hazmat.primitives import hashes

from cardd.igc.authority import Authority
from cardd.igc.issuing import serial_hex
from cardd.igc.names import readable_name
from cardd.orders.paging import Page, PageRequest
from cardd_webservice.operations import READ, VALIDATE, Call, Operation, Reply
from cardd_webservice.paging import page_of


class AuthorityView(msgspec.Struct, frozen=True, kw_only=True):
    """A certification authority and where it publishes, on this service."""

    name: str
    subject: str
    issuer: str
    serial: str
    not_before: datetime
    not_after: datetime
    fingerprint_sha256: str
    certificate: str
    crl: str
    delta_crl: str


async def list_authorities(call: Call[PageRequest]) -> Reply:
    """Answer a page of the authorities, by name."""
    views = [_view(authority) for authority in call.services.pki.authorities.values()]
    return Reply(page_of(views, lambda view: view.name, call.given))


def _view(authority: Authority) -> AuthorityView:
    certificate, name = authority.certificate, authority.name.value
    return AuthorityView(
        name=name,
        subject=readable_name(certificate.subject),
        issuer=authority.name.issuer.value,
        serial=serial_hex(certificate.serial_number),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        certificate=f"/AC/{name}.cer",
        crl=f"/CRL/{name}.crl",
        delta_crl=f"/CRL/{name}-delta.crl",
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/authorities",
        handler=list_authorities,
        scopes=READ | VALIDATE,
        takes=PageRequest,
        answers=Page[AuthorityView],
        summary="List the authorities of the test PKI",
        tag="Test PKI",
    ),
)
