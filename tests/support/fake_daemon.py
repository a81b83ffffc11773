"""An HTTP server that answers what a test tells it to, and remembers what it was asked."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec


class Asked(NamedTuple):
    """One request as it came."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: Any


class Scripted(NamedTuple):
    """One answer; `cut` closes the connection instead."""

    status: int
    body: Any = None
    media_type: str = "application/json"
    cut: bool = False


class FakeDaemon:
    """Answers by method and path; several answers to one request are given in turn, then the last one for ever."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.address = ""
        self._answers: dict[tuple[str, str], list[Scripted]] = {}

    def on(self, method: str, path: str, *answers: Scripted) -> None:
        """Answer requests of `method` to `path` under `/api/v1`."""
        self._answers[method, "/api/v1" + path] = list(answers)

    def next_answer(self, asked: Asked) -> Scripted:
        """Remember a request and choose its answer."""
        self.asked.append(asked)
        answers = self._answers.get((asked.method, asked.target.partition("?")[0]))
        if not answers:
            return problem(404, "not_found", f"nothing at {asked.target}")
        return answers.pop(0) if len(answers) > 1 else answers[0]


def problem(status: int, code: str, detail: str, **more: Any) -> Scripted:
    """Make a problem document as the daemon does."""
    document = {"type": f"urn:cardd:error:{code}", "title": code, "status": status, "detail": detail, **more}
    return Scripted(status, document, "application/problem+json")


@contextmanager
def fake_daemon() -> Iterator[FakeDaemon]:
    """Run a fake daemon on a free loopback port."""
    fake = FakeDaemon()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            body = msgspec.json.decode(content) if content else None
            scripted = fake.next_answer(Asked(self.command, self.path, dict(self.headers), body))
            if scripted.cut:
                return
            sent = scripted.body if isinstance(scripted.body, bytes) else msgspec.json.encode(scripted.body)
            sent = b"" if scripted.body is None else sent
            self.send_response(scripted.status)
            self.send_header("Content-Type", scripted.media_type)
            self.send_header("Content-Length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815  named by http.server

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
