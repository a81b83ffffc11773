"""A web server of somebody else's, whose pages try everything on the daemon."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_ATTACK = (Path(__file__).parent / "attack.js").read_text(encoding="utf-8")
HOSTILE_PAGE = f"""<!doctype html><meta charset="utf-8"><title>hostile</title><body>
<button>Look at this</button><script>{_ATTACK}</script>"""
#: The same in a frame whose origin is `null`; it tells its parent what it obtained.
_SANDBOX = f"""<!doctype html><meta charset="utf-8"><body><script>{_ATTACK}
const asked = new URLSearchParams(location.search);
attack(asked.get("target"), asked.get("card")).then((found) => parent.postMessage({{ origin, found }}, "*"));
</script>"""


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = (_SANDBOX if self.path.startswith("/sandbox") else HOSTILE_PAGE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def hostile_server() -> Iterator[int]:
    """Serve hostile pages on a free port of the loopback for the length of a block; yields the port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    thread = threading.Thread(target=server.serve_forever, name="hostile server")
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
