"""Serving: loopback only, a private socket, and a port that is somebody else's."""

import asyncio
import socket
import stat
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from cardd_webservice import PortTakenError, create_application, reserve_port, serving
from cardd_webservice.errors import RuntimeDirectoryError
from cardd_webservice.guard import connections
from cardd_webservice.server import SOCKET_NAME
from tests.support.webservice import Running, make_services, running, settings_for

HEALTH = "/api/v1/health"


def test_a_free_port_is_reserved_on_loopback_only(tmp_path: Path) -> None:
    reservation = reserve_port(settings_for(tmp_path))
    try:
        assert {held.getsockname()[0] for held in reservation.sockets} <= {"127.0.0.1", "::1"}
        assert {held.getsockname()[1] for held in reservation.sockets} == {reservation.port}
        assert reservation.address == f"http://127.0.0.1:{reservation.port}"
    finally:
        reservation.close()


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_taken_port_is_named_and_never_spoken_to(
    tmp_path: Path, family: socket.AddressFamily, host: str
) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as stranger:
        stranger.bind((host, 0))
        stranger.listen()
        stranger.settimeout(0)
        port = stranger.getsockname()[1]
        with pytest.raises(PortTakenError) as caught:
            reserve_port(settings_for(tmp_path), port=port)
        assert str(port) in caught.value.detail.en
        assert str(port) in caught.value.advice.fr
        with pytest.raises(BlockingIOError):
            stranger.accept()


def test_nobody_connects_to_a_port_that_is_only_reserved(tmp_path: Path) -> None:
    reservation = reserve_port(settings_for(tmp_path))
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", reservation.port), timeout=1)
    finally:
        reservation.close()


async def test_both_loopback_addresses_serve(service: Running) -> None:
    port = urlsplit(service.address).port
    for host in ("127.0.0.1", "[::1]", "localhost"):
        async with service.http.get(f"http://{host}:{port}{HEALTH}") as response:
            assert response.status == 200


async def test_the_socket_serves_its_owner_with_the_token(service: Running) -> None:
    assert stat.S_IMODE(service.socket.stat().st_mode) == 0o600
    assert stat.S_IMODE(service.socket.parent.stat().st_mode) == 0o700
    connector = aiohttp.UnixConnector(str(service.socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        async with http.get(f"http://cardd{HEALTH}") as response:
            assert response.status == 200
        async with http.get("http://cardd/api/v1/cards") as response:
            assert response.status == 401
        owner = {"Authorization": f"Bearer {service.token}"}
        async with http.get("http://cardd/api/v1/cards", headers=owner) as response:
            assert response.status == 200
        async with http.get("http://evil.example/", headers=owner) as response:
            assert response.status == 421


async def test_other_users_are_refused_on_the_socket(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "socket_peer_uid", lambda _connection: 65533)
    connector = aiohttp.UnixConnector(str(service.socket))
    async with aiohttp.ClientSession(connector=connector) as http:
        owner = {"Authorization": f"Bearer {service.token}"}
        async with http.get("http://cardd/api/v1/cards", headers=owner) as response:
            assert response.status == 403
            assert (await response.json(content_type=None))["type"] == "urn:cardd:error:peer_refused"


async def test_a_socket_in_a_deep_directory_is_served(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-directory-name"] * 5)
    deep.mkdir(parents=True)
    assert len(str(deep / "run" / SOCKET_NAME)) > 107
    async with running(deep) as service:
        assert service.socket.is_socket()
    assert not service.socket.exists()


async def test_a_socket_left_by_a_killed_daemon_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "run" / SOCKET_NAME))
    async with running(tmp_path) as service:
        assert service.socket.is_socket()


async def test_a_socket_in_use_stops_the_start_and_stays(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    path = tmp_path / "run" / SOCKET_NAME
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        services = await make_services(tmp_path)
        with pytest.raises(PortTakenError):
            async with serving(create_application(services), reserve_port(services.settings), path.parent):
                pass
        await services.store.close()
    assert path.is_socket()


async def test_a_file_in_the_sockets_place_stops_the_start_and_stays(tmp_path: Path) -> None:
    path = tmp_path / "run" / SOCKET_NAME
    path.parent.mkdir()
    path.write_text("precious")
    services = await make_services(tmp_path)
    with pytest.raises(PortTakenError):
        async with serving(create_application(services), reserve_port(services.settings), path.parent):
            pass
    await services.store.close()
    assert path.read_text() == "precious"


async def test_garbage_on_the_wire_is_answered_400(service: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(service.address).port)
    writer.write(b"\x16\x03\x01\x02\x00\r\n\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_directory_that_everybody_writes_to_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    services = await make_services(tmp_path)
    with pytest.raises(RuntimeDirectoryError):
        async with serving(create_application(services), reserve_port(services.settings), shared):
            pass
    await services.store.close()
    assert stat.S_IMODE(shared.stat().st_mode) == 0o1777
