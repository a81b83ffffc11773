"""`python -m bench.bare`: a bare aiohttp application, as the floor of answers over HTTP.

A GET is answered with a small JSON object, encoded each time; a POST is read and answered with as many bytes as an OCSP
response has. It runs on uvloop, as the daemon does, and prints the port it listens on.
"""

import asyncio
import sys

import msgspec
import uvloop
from aiohttp import web

_ANSWER = {"status": "good", "freshness": "fresh", "source": "ACI-EL-ORG-TEST", "decision": "accept"}
#: An OCSP response with the certificate of who signed it, RSA 2048.
_KEPT = bytes(1500)


async def _answer(_request: web.Request) -> web.Response:
    return web.Response(body=msgspec.json.encode(_ANSWER), content_type="application/json")


async def _answer_post(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=_KEPT, content_type="application/ocsp-response")


async def _serve() -> None:
    application = web.Application()
    application.router.add_get("/", _answer)
    application.router.add_post("/", _answer_post)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sys.stdout.write(f"{runner.addresses[0][1]}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Serve until the process is ended."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve())


if __name__ == "__main__":
    main()
