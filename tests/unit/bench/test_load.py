"""The clients of the benchmarks, against a server that notes their connections."""

import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import repeat
from typing import Any

import pytest

from bench.load import Requests, answered, drive


class Noting(ThreadingHTTPServer):
    """Answers what its path says; notes connections and bodies."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.connections: set[Any] = set()
        self.bodies: list[tuple[str, bytes]] = []

    @property
    def requests(self) -> Requests:
        return Requests(f"http://127.0.0.1:{self.server_address[1]}", "secret")


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Noting

    def do_POST(self) -> None:
        self.server.connections.add(self.client_address)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append((self.headers["Content-Type"], body))
        self.send_response(HTTPStatus.OK if self.path == "/good" else HTTPStatus.FORBIDDEN)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_request(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Noting]:
    with Noting() as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


@pytest.mark.parametrize(("kept", "connections"), [(True, 2), (False, 6)])
def test_clients_keep_their_connections_or_open_one_for_each_question(
    server: Noting, kept: bool, connections: int
) -> None:
    question = server.requests.post("/good", b"\x30\x00", "application/ocsp-request")
    load = answered(server.requests, repeat(question, 6), 2, connections_kept=kept)
    assert load.done == 6
    assert server.bodies == [("application/ocsp-request", b"\x30\x00")] * 6
    assert len(server.connections) == connections


def test_an_answer_that_is_no_answer_is_an_error(server: Noting) -> None:
    question = server.requests.encode("POST", "/bad", {"a": 1})
    with pytest.raises(RuntimeError, match="refused"):
        answered(server.requests, iter([question]), 1)


def test_a_load_counts_what_went_well_and_what_did_not(server: Noting) -> None:
    def unit(path: str) -> Any:
        reply = yield server.requests.encode("POST", path, {})
        return reply.status == HTTPStatus.OK

    load = drive(server.requests, [iter([unit("/good"), unit("/bad"), unit("/good")])])
    assert (load.done, load.errors, len(load.latencies)) == (2, 1, 2)
    assert server.bodies[0] == ("application/json", b"{}")
