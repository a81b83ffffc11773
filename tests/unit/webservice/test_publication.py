"""What is published without a token."""

from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import pkcs7

from cardd.igc.names import LIST_RESPONDER
from tests.support.webservice import ListOcsp, Pki, Running, authority

CRL = "/CRL/ACR-EL-TEST.crl"


async def _get(service: Running, path: str, method: str = "GET", **headers: str) -> tuple[Any, bytes]:
    async with service.call(method, path, token=None, headers=headers) as response:
        return response, await response.read()


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        (CRL, "application/pkix-crl"),
        ("/CRL/ACR-EL-TEST-delta.crl", "application/pkix-crl"),
        ("/AC/ACR-EL-TEST.cer", "application/pkix-cert"),
        ("/AC/chain.p7b", "application/x-pkcs7-certificates"),
    ],
)
async def test_a_document_has_its_media_type_and_its_validators(
    service: Running, path: str, media_type: str
) -> None:
    response, body = await _get(service, path)
    assert response.status == 200
    assert response.content_type == media_type
    assert response.headers["Cache-Control"] == "public, no-cache"
    assert response.headers["Last-Modified"] == "Mon, 02 Mar 2026 09:00:00 GMT"
    head, nothing = await _get(service, path, "HEAD")
    assert (head.status, nothing) == (200, b"")
    assert head.headers["Content-Length"] == str(len(body))
    assert head.headers["ETag"] == response.headers["ETag"]


async def test_full_and_delta_lists_differ_and_certificates_are_real(service: Running) -> None:
    assert (await _get(service, CRL))[1] == b"listfull"
    assert (await _get(service, "/CRL/ACR-EL-TEST-delta.crl"))[1] == b"listdelta"
    held = x509.load_der_x509_certificate((await _get(service, "/AC/ACR-EL-TEST.cer"))[1])
    assert pkcs7.load_der_pkcs7_certificates((await _get(service, "/AC/chain.p7b"))[1]) == [held]


async def test_the_certificate_of_the_responder_for_lists_of_others_is_there_while_it_answers(
    service: Running,
) -> None:
    path = f"/AC/{LIST_RESPONDER}.cer"
    assert (await _get(service, path))[0].status == 404
    assert isinstance(service.services.list_ocsp, ListOcsp)
    certificate = service.services.list_ocsp.certificate = authority().certificate
    assert x509.load_der_x509_certificate((await _get(service, path))[1]) == certificate


async def test_an_unchanged_list_costs_a_304(service: Running) -> None:
    response, _ = await _get(service, CRL)
    for headers in (
        {"If-None-Match": response.headers["ETag"]},
        {"If-None-Match": f'"other", W/{response.headers["ETag"]}'},
        {"If-Modified-Since": response.headers["Last-Modified"]},
    ):
        again, body = await _get(service, CRL, **headers)
        assert (again.status, body) == (304, b"")
        assert again.headers["ETag"] == response.headers["ETag"]


async def test_a_changed_list_is_sent_whole_even_within_the_same_second(service: Running) -> None:
    response, _ = await _get(service, CRL)
    assert isinstance(service.services.pki, Pki)
    service.services.pki.entries = b"changed"
    seen = {"If-None-Match": response.headers["ETag"], "If-Modified-Since": response.headers["Last-Modified"]}
    again, body = await _get(service, CRL, **seen)
    assert (again.status, body) == (200, b"changedfull")


@pytest.mark.parametrize(
    "path",
    [
        "/CRL/ACR-XX-TEST.crl", "/CRL/ACR-ST-TEST.crl", "/CRL/..%2Ftoken.crl", "/AC/none.cer", "/CRL/-delta.crl",
        "/CRL/ACR-EL-TEST-delta-delta.crl", "/static/../pages.py", "/static/%2e%2e/pages.py",
    ],
)  # fmt: skip
async def test_nothing_else_is_published(service: Running, path: str) -> None:
    response, _ = await _get(service, path)
    assert response.status == 404


async def test_ocsp_answers_post_and_get(service: Running) -> None:
    headers = {"Content-Type": "application/ocsp-request"}
    async with service.call("POST", "/ocsp", token=None, data=b"\x30\x00", headers=headers) as response:
        assert response.content_type == "application/ocsp-response"
        assert await response.read() == b"answer to \x30\x00"
        assert response.headers["Cache-Control"] == "no-store"
    response, body = await _get(service, "/ocsp/MEIwQDA%2BMDw%2FwOjA4/a+b=")
    assert body == b"MEIwQDA+MDw/wOjA4/a+b="
    assert response.headers["Cache-Control"] == "public, no-transform, must-revalidate, max-age=60"
    assert response.headers["ETag"] == '"0123"'
    assert response.headers["Expires"] == "Mon, 02 Mar 2026 09:01:00 GMT"


async def test_ocsp_refuses_other_kinds_of_bodies(service: Running) -> None:
    headers = {"Content-Type": "application/json"}
    async with service.call("POST", "/ocsp", token=None, data=b"{}", headers=headers) as response:
        assert response.status == 415


async def test_pages_speak_french_first_and_english_too(service: Running) -> None:
    for path, french, english in (
        ("/", "Le démon fonctionne", "The daemon runs"),
        ("/PC", "Politique de certification", "Test certificate policy"),
    ):
        assert french in (await _get(service, path))[1].decode()
        assert english in (await _get(service, path, **{"Accept-Language": "en-GB"}))[1].decode()
        assert english in (await _get(service, f"{path}?lang=en", **{"Accept-Language": "fr"}))[1].decode()
        response, _ = await _get(service, path)
        assert "style-src 'self'" in response.headers["Content-Security-Policy"]
        assert "script-src" not in response.headers["Content-Security-Policy"]


async def test_the_state_page_tells_how_many_cards_and_not_whose(service: Running) -> None:
    body = (await _get(service, "/"))[1].decode()
    assert "<dd>1</dd>" in body
    assert "00000017" not in body
    assert "CLAIRE" not in body
