"""Who may call from where: Host, Origin and fetch metadata."""

import asyncio
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd_webservice.errors import MisdirectedRequestError
from cardd_webservice.guard.origins import check_host, origin_of, own_origin
from cardd_webservice.guard.policy import POLICY, OriginKind
from tests.support.webservice import Running

HEALTH = "/api/v1/health"
OWN = "http://127.0.0.1:8980"


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8980", "localhost:8980", "[::1]:8980", "LocalHost:8980", "localhost"]
)
def test_our_own_names_are_served(host: str) -> None:
    assert check_host(POLICY, [host], "/", 8980) in POLICY.hosts


@pytest.mark.parametrize(
    "host",
    [
        "evil.example:8980", "127.0.0.1.evil.example:8980", "localhost.evil.example", "127.0.0.1:8981", "127.0.0.1:",
        "127.0.0.2:8980",
        "[::2]:8980", "::1:8980", "0.0.0.0:8980", "localhost:8980:8980", "", "cardd", "user@localhost",
    ],
)  # fmt: skip
def test_every_other_name_is_misdirected(host: str) -> None:
    with pytest.raises(MisdirectedRequestError):
        check_host(POLICY, [host], "/", 8980)


@given(st.text(max_size=40))
def test_no_host_outside_the_list_is_ever_accepted(host: str) -> None:
    names = {"127.0.0.1", "localhost", "[::1]"}
    allowed = names | {f"{name}:8980" for name in names}
    try:
        check_host(POLICY, [host], "/", 8980)
    except MisdirectedRequestError:
        return
    assert host.lower() in allowed


def test_two_hosts_none_or_an_absolute_target_are_misdirected() -> None:
    for hosts, target in (
        (["localhost", "localhost"], "/"),
        ([], "/"),
        (["localhost"], "http://evil.example/"),
    ):
        with pytest.raises(MisdirectedRequestError):
            check_host(POLICY, hosts, target, 8980)


def test_the_socket_has_a_name_of_its_own() -> None:
    assert check_host(POLICY, ["cardd"], "/", None) == "cardd"
    assert check_host(POLICY, ["localhost"], "/", None) == "localhost"
    with pytest.raises(MisdirectedRequestError):
        check_host(POLICY, ["evil.example"], "/", None)


@pytest.mark.parametrize(
    "origin",
    [
        "null", "", "http://evil.example", "http://127.0.0.1:8980.evil.example", "http://127.0.0.1:89801",
        "http://127.0.0.1:8981", "https://127.0.0.1:8980", "http://localhost:8980", "http://127.0.0.1",
        "http://127.0.0.1:8980/", "HTTP://127.0.0.1:8980", "xhttp://127.0.0.1:8980",
    ],
)  # fmt: skip
def test_an_origin_that_is_not_exactly_ours_is_foreign(origin: str) -> None:
    assert origin_of(POLICY, [origin], None, OWN).kind is OriginKind.FOREIGN


def test_our_own_origin_or_none_is_told_apart() -> None:
    assert origin_of(POLICY, [], None, OWN).kind is OriginKind.NONE
    assert origin_of(POLICY, [], "none", OWN).kind is OriginKind.NONE
    assert origin_of(POLICY, [OWN], "same-origin", OWN).kind is OriginKind.OWN
    assert origin_of(POLICY, [OWN, OWN], "same-origin", OWN).kind is OriginKind.FOREIGN
    assert origin_of(POLICY, ["http://localhost"], None, None).kind is OriginKind.FOREIGN


def test_our_origin_is_written_as_browsers_write_it() -> None:
    assert own_origin("localhost", 80, is_tls=False) == "http://localhost"
    assert own_origin("localhost", 443, is_tls=True) == "https://localhost"
    assert own_origin("[::1]", 443, is_tls=False) == "http://[::1]:443"


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site"])
def test_pages_of_other_sites_are_foreign_even_without_an_origin(site: str) -> None:
    assert origin_of(POLICY, [], site, OWN).kind is OriginKind.FOREIGN
    assert origin_of(POLICY, [OWN], site, OWN).kind is OriginKind.FOREIGN


async def test_a_rebound_name_is_answered_421_and_counted(service: Running) -> None:
    async with service.call("GET", HEALTH, headers={"Host": "evil.example"}) as response:
        assert response.status == 421
        assert (await response.json(content_type=None))["type"] == "urn:cardd:error:misdirected_request"
    refused = service.services.metrics.get_sample_value("cardd_guard_refusals_total", {"reason": "host"})
    assert refused == 1


async def test_a_foreign_origin_is_answered_403_without_any_cors_header(service: Running) -> None:
    for origin in ("null", "http://evil.example", service.address + ".evil.example"):
        for method in ("GET", "POST", "OPTIONS"):
            async with service.call(method, "/api/v1/orders", headers={"Origin": origin}) as response:
                assert response.status == 403
                assert not [name for name in response.headers if name.lower().startswith("access-control")]


async def test_publications_answer_pages_of_any_origin_but_not_rebound_names(service: Running) -> None:
    path = "/CRL/ACR-EL-TEST.crl"
    foreign = {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    async with service.call("GET", path, token=None, headers=foreign) as response:
        assert response.status == 200
    async with service.call("GET", path, token=None, headers={"Host": "evil.example"}) as response:
        assert response.status == 421


async def test_an_absolute_target_does_not_get_round_the_host(service: Running) -> None:
    port = urlsplit(service.address).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode()
    )
    assert b" 421 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_every_answer_carries_the_security_headers(service: Running) -> None:
    for path in (
        "/",
        "/PC",
        "/nothing",
        HEALTH,
        "/CRL/ACR-EL-TEST.crl",
        "/static/cardd.css",
        "/api/v1/orders",
    ):
        async with service.call("GET", path, token=None) as response:
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert response.headers["Server"] == "cardd"
