"""Which user is at the other end: read from the kernel's tables, and what other users get."""

import asyncio
import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from cardd.applications.types import Scope
from cardd.settings import WebSettings
from cardd_webservice.guard import connections, peers
from cardd_webservice.guard.peers import GONE, is_this_user, tcp_peer_uid
from tests.support.pairing import paired
from tests.support.webservice import Running, running, settings_for

NOBODY = 65534
_needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can call as another user")
_needs_proc = pytest.mark.skipif(
    not Path("/proc/self/net/tcp").exists(), reason="this system does not tell whose a TCP connection is"
)


def _only(asked: bool) -> tuple[str, Callable[..., object]]:
    """Return what is to stand in for the way to know that is not under test."""

    def unread(*_: object) -> None:
        raise AssertionError("the tables are not read")

    return ("_uid_from_tables", unread) if asked else ("socket_owner", lambda *_: None)


def _always(uid: int | None) -> Callable[..., Awaitable[int | None]]:
    async def told(*_: object) -> int | None:
        return uid

    return told


#: Calls as another user: prints the status of each path.
_CALL = """
import http.client, os, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
host, port, token = sys.argv[2], int(sys.argv[3]), sys.stdin.readline().strip()
for path in sys.argv[4:]:
    connection = http.client.HTTPConnection(host, port, timeout=20)
    connection.request("GET", path, headers={"Authorization": "Bearer " + token} if token else {})
    print(connection.getresponse().status)
"""


@_needs_proc
@pytest.mark.parametrize(
    ("family", "address"),
    [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"), (socket.AF_INET6, "::ffff:127.0.0.1")],
)
@pytest.mark.parametrize("asks_the_kernel", [True, False], ids=["asked", "read"])
async def test_the_user_of_a_connection_is_found(
    family: socket.AddressFamily, address: str, monkeypatch: pytest.MonkeyPatch, *, asks_the_kernel: bool
) -> None:
    monkeypatch.setattr(peers, *_only(asks_the_kernel))
    listens_on = "127.0.0.1" if address.startswith("::ffff") else address
    with socket.create_server(
        (listens_on, 0), family=socket.AF_INET if "." in listens_on else family
    ) as server:
        caller = socket.socket(family, socket.SOCK_STREAM)
        caller.connect((address, server.getsockname()[1]))
        taken, _ = server.accept()
        with taken:
            ours, theirs = taken.getsockname()[:2], taken.getpeername()[:2]
            assert await tcp_peer_uid(ours, theirs) == os.getuid()
            caller.close()
            assert await tcp_peer_uid(ours, theirs) == GONE, (
                "what nobody holds any more is nobody's, not root's"
            )


@_needs_proc
async def test_who_listens_where_a_caller_was_is_not_taken_for_the_caller() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        end = server.getsockname()
        assert await tcp_peer_uid(("127.0.0.1", 1), end) == GONE


async def test_without_the_tables_nothing_is_told(tmp_path: Path) -> None:
    assert await tcp_peer_uid(("127.0.0.1", 1), ("127.0.0.1", 2), tmp_path) is None


@_needs_proc
@pytest.mark.parametrize("asks_the_kernel", [True, False], ids=["asked", "read"])
async def test_where_the_tables_cannot_be_read_now_nobody_is_taken_for_this_user(
    monkeypatch: pytest.MonkeyPatch, *, asks_the_kernel: bool
) -> None:
    monkeypatch.setattr(peers, *_only(asks_the_kernel))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            await tcp_peer_uid(("127.0.0.1", 1), ("127.0.0.1", 2))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_owner_and_root_are_this_user() -> None:
    assert is_this_user(os.getuid())
    assert is_this_user(0)
    assert is_this_user(None)
    assert not is_this_user(NOBODY)
    assert not is_this_user(GONE)


async def _statuses(service: Running, token: str, *paths: str, host: str = "127.0.0.1") -> list[int]:
    port = str(urlsplit(service.address).port)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CALL, str(NOBODY), host, port, *paths,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/",
    )  # fmt: skip
    out, _ = await process.communicate(f"{token}\n".encode())
    assert process.returncode == 0
    return [int(line) for line in out.split()]


PUBLIC = ("/CRL/ACR-EL-TEST.crl", "/AC/chain.p7b", "/PC")
OTHERS = (
    "/",
    "/api/v1/health",
    "/api/v1/cards",
    "/metrics",
    "/cartes",
    "/ouvrir?lien=x",
    "/static/cardd.css",
    "/x",
)


@_needs_root
@_needs_proc
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_another_user_gets_published_documents_and_nothing_else(service: Running, host: str) -> None:
    for token in ("", service.token, await paired(service, Scope.READ)):
        assert await _statuses(service, token, *PUBLIC, host=host) == [200] * len(PUBLIC)
        assert await _statuses(service, token, *OTHERS, host=host) == [403] * len(OTHERS)


@_needs_root
@_needs_proc
async def test_a_stolen_cookie_opens_nothing_to_another_user(service: Running) -> None:
    _, made = await service.json("POST", "/api/v1/ihm/links", json={})
    assert await _statuses(service, "", made["path"]) == [403]
    async with service.call("GET", made["path"], token=None, allow_redirects=False) as response:
        assert response.status == 303, "another user's try does not use the link up"


@_needs_root
@_needs_proc
async def test_applications_of_other_users_are_let_in_where_the_settings_say_so(tmp_path: Path) -> None:
    base = settings_for(tmp_path)
    settings = type(base)(
        state_dir=base.state_dir, runtime_dir=base.runtime_dir, http_port=0,
        web=WebSettings(other_users="applications"),
    )  # fmt: skip
    async with running(tmp_path, settings=settings) as service:
        token = await paired(service, Scope.READ)
        assert await _statuses(service, token, "/api/v1/cards", "/api/v1/audit") == [200, 403]
        assert await _statuses(service, service.token, "/api/v1/cards") == [403]
        assert await _statuses(service, "", "/api/v1/cards", "/") == [403, 403]


async def test_what_cannot_be_told_apart_is_taken_for_this_user(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "tcp_peer_uid", _always(None))
    assert (await service.json("GET", "/api/v1/cards"))[0] == 200


async def test_while_descriptors_run_out_callers_are_told_so_and_on_the_same_connection_let_in_again(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run_out(_ours: object, _theirs: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(connections, "tcp_peer_uid", run_out)
        async with service.call("GET", "/api/v1/cards") as response:
            assert response.status == 503
            assert (await response.json(content_type=None))["type"] == "urn:cardd:error:resources_exhausted"
    assert (await service.json("GET", "/api/v1/cards"))[0] == 200


async def test_refusals_of_other_users_are_counted(service: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "tcp_peer_uid", _always(NOBODY))
    async with service.call("GET", "/api/v1/cards") as response:
        assert (await response.json(content_type=None))["type"] == "urn:cardd:error:peer_refused"
    refused = service.services.metrics.get_sample_value("cardd_guard_refusals_total", {"reason": "peer"})
    assert refused == 1
