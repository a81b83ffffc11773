"""Hostile requests on a raw socket: none has an effect, gets data, or gets its own words back."""

import asyncio
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cardd.events import EventType
from cardd_webservice.guard import connections
from cardd_webservice.guard.policy import POLICY, GuardPolicy
from tests.support.webservice import CARD, Running, running

END = "\r\n\r\n"


async def _raw(service: Running, sent: bytes) -> bytes:
    """Send bytes, and return all that comes until the other end closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service.address).port)
    try:
        writer.write(sent)
        await writer.drain()
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


def _request(
    service: Running, *lines: str, first: str = "GET /api/v1/cards HTTP/1.1", host: str | None = None
) -> bytes:
    """Return the owner's request with lines of the test's own."""
    named = f"127.0.0.1:{urlsplit(service.address).port}" if host is None else host
    head = [first, f"Host: {named}", f"Authorization: Bearer {service.token}", "Connection: close", *lines]
    return ("\r\n".join(head) + END).encode("latin-1")


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_a_plain_request_passes(service: Running) -> None:
    answer = await _raw(service, _request(service))
    assert _status(answer) == 200
    assert CARD.encode() in answer


@pytest.mark.parametrize(
    "host",
    ["localhost.", "LOCALHOST.:{port}", "127.0.0.1.", "127.1", "2130706433", "0x7f.0.0.1", "0177.0.0.1",
     "0.0.0.0:{port}",
     "[::1", "::1", "[::ffff:127.0.0.1]:{port}", "[0:0:0:0:0:0:0:1]:{port}", "127.0.0.1:0{port}", "127.0.0.1:{port}:1",
     "127.0.0.1:{port}@evil.example", "evil.example#127.0.0.1", "localhost:1", "127.0.0.1 evil.example", "",
     "localhost,evil.example", "xn--localhost", "cardd"],
)  # fmt: skip
async def test_odd_names_of_this_machine_are_misdirected(service: Running, host: str) -> None:
    port = urlsplit(service.address).port
    answer = await _raw(service, _request(service, host=host.format(port=port)))
    assert _status(answer) in (400, 421)
    assert CARD.encode() not in answer


@pytest.mark.parametrize("host", ["LOCALHOST:{port}", "[::1]:{port}", "127.0.0.1", "localhost:{port}"])
async def test_right_names_pass_in_any_case_with_or_without_the_port(service: Running, host: str) -> None:
    port = urlsplit(service.address).port
    assert _status(await _raw(service, _request(service, host=host.format(port=port)))) == 200


@pytest.mark.parametrize(
    "target",
    ["http://evil.example/api/v1/cards", "http://127.0.0.1/api/v1/cards", "https://localhost/", "//evil.example/",
     "*", "evil.example:80", "/api/v1/../../cartes", "/%2e%2e/etc/passwd", "/static/..%2f..%2fapp.py", "/static/../x"],
)  # fmt: skip
async def test_odd_targets_get_nothing(service: Running, target: str) -> None:
    for method in ("GET", "OPTIONS", "CONNECT", "TRACE"):
        answer = await _raw(service, _request(service, first=f"{method} {target} HTTP/1.1"))
        assert _status(answer) in (400, 403, 404, 405, 421), (method, target)
        assert CARD.encode() not in answer


SMUGGLED = "GET /api/v1/cards HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (("Content-Length: 5", "Content-Length: 6"), "{}   "),
        (("Content-Length: 5, 6",), "{}   "),
        (("Content-Length: +5",), "{}   "),
        (("Content-Length: -1",), ""),
        (("Content-Length: 0x5",), "{}   "),
        (("Content-Length: 4", "Transfer-Encoding: chunked"), "0\r\n\r\n" + SMUGGLED),
        (("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), "0\r\n\r\n"),
        (("Transfer-Encoding: xchunked",), "0\r\n\r\n"),
        (("Transfer-Encoding: chunked, identity",), "0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), "zz\r\n{}\r\n0\r\n\r\n"),
        (("Transfer-Encoding: chunked",), "-1\r\n{}\r\n0\r\n\r\n"),
        (("Transfer-Encoding : chunked",), "0\r\n\r\n"),
        (("Content-Length : 2",), "{}"),
        ((" folded: value",), ""),
        (("X-Name: a\x00b",), ""),
        (("X-N\xe9: a",), ""),
        ((": nothing",), ""),
        (("no colon",), ""),
        (("Host: 127.0.0.1",), ""),
        (("Host: evil.example",), ""),
    ],
)
async def test_shapes_of_request_smuggling_are_refused(
    service: Running, lines: tuple[str, ...], body: str
) -> None:
    first = "POST /api/v1/habilitations/h1/approval HTTP/1.1"
    sent = _request(service, "Content-Type: application/json", *lines, first=first) + body.encode()
    answer = await _raw(service, sent)
    assert _status(answer) in (400, 421)
    assert answer.count(b"\r\nContent-Length: ") == 1, "one answer, and nothing that was hidden in the body"
    assert CARD.encode() not in answer


@pytest.mark.parametrize(
    "lines",
    [
        ("Authorization: Bearer x",),
        ("Origin: null",),
        ("Origin: http://evil.example", "Origin: http://127.0.0.1"),
        ("Sec-Fetch-Site: cross-site",),
        ("Sec-Fetch-Site: same-origin", "Origin: http://evil.example"),
    ],
)
async def test_headers_that_say_two_things_or_come_from_elsewhere_are_refused(
    service: Running, lines: tuple[str, ...]
) -> None:
    answer = await _raw(service, _request(service, *lines))
    assert _status(answer) in (400, 401, 403)
    assert CARD.encode() not in answer
    assert b"access-control" not in answer.lower()


@pytest.mark.parametrize(
    "sent",
    [
        lambda _: b"\x16\x03\x01\x02\x00\x01\x00" + b"\x00" * 40 + b"\r\n\r\n",
        lambda _: b"GET / HTTP/1.1\nHost: x\n\n<script>alert(1)</script>\r\n\r\n",
        lambda _: b"<script>alert(1)</script>\r\n\r\n",
        lambda _: b"GET /<script> HTTP/9.9\r\n\r\n",
        lambda _: b"G" * 9000 + b" / HTTP/1.1\r\n\r\n",
        lambda _: b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
        lambda service: _request(service, "X-Long: " + "<b>" * 4000),
        lambda service: _request(service, *(f"X-{number}: <b>" for number in range(100))),
        lambda _: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_what_is_not_http_gets_a_bare_problem_with_the_security_headers(
    service: Running, sent: Callable[[Running], bytes]
) -> None:
    answer = await _raw(service, sent(service))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert _status(answer) in (400, 505)
    lines = head.decode().splitlines()
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert headers["content-type"].startswith("application/problem+json")
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["server"] == "cardd"
    assert json.loads(body)["type"] == "urn:cardd:error:malformed_request"
    assert b"<" not in body


async def test_malformed_requests_are_counted_and_journalled(tmp_path: Path) -> None:
    async with running(tmp_path) as service:
        for _ in range(3):
            await _raw(service, b"nonsense\r\n\r\n")
        metrics = service.services.metrics
        assert metrics.get_sample_value("cardd_guard_refusals_total", {"reason": "malformed"}) == 3
    async with running(tmp_path) as service:
        lines = [line for line in await service.services.store.journal() if line.subject == "guard:malformed"]
        assert sum(line.details["count"] for line in lines) == 3
        assert len(lines) == 2, "the first at once, the others together"


async def test_a_header_injected_by_a_value_reaches_no_answer(service: Running) -> None:
    for path in (
        "/?lang=fr%0d%0aSet-Cookie:x=1",
        "/api/v1/crls/%0d%0aX-Injected:1",
        "/%0d%0aX-Injected:%201",
    ):
        answer = await _raw(service, _request(service, first=f"GET {path} HTTP/1.1"))
        head = answer.partition(b"\r\n\r\n")[0].lower()
        assert b"x-injected" not in head
        assert b"set-cookie: x" not in head


async def test_tls_on_the_plain_port_is_not_spoken(service: Running) -> None:
    context = ssl.create_default_context()
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", urlsplit(service.address).port, ssl=context)


def _crowd(monkeypatch: pytest.MonkeyPatch, **limits: float) -> None:
    values = {name: getattr(POLICY, name) for name in POLICY.__struct_fields__}
    monkeypatch.setattr(connections, "POLICY", GuardPolicy(**values | limits))


async def test_connections_beyond_the_limit_are_dropped_and_the_others_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _crowd(monkeypatch, connections=3)
    async with running(tmp_path) as service:
        port = urlsplit(service.address).port
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(ConnectionError):
            if await reader.read() == b"":
                raise ConnectionResetError
        writer.close()
        held[0][1].write(_request(service))
        assert _status(await held[0][0].read()) == 200
        for _, each in held:
            each.close()


async def test_headers_that_trickle_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _crowd(monkeypatch, idle_seconds=0.2)
    async with running(tmp_path) as service:
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service.address).port)
        writer.write(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ")
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()


async def test_a_listener_who_does_not_read_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _crowd(monkeypatch, stalled_seconds=0.2)
    async with running(tmp_path) as service:
        _, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service.address).port, limit=1)
        writer.write(_request(service, first="GET /api/v1/events HTTP/1.1"))
        async with asyncio.timeout(60):
            while (
                service.services.metrics.get_sample_value("cardd_guard_refusals_total", {"reason": "stalled"})
                is None
            ):
                async with service.services.store.transaction() as tx:
                    for _ in range(20):
                        tx.publish(EventType.KEY_CREATED, "key:x", filler="x" * 50_000)
        writer.close()
