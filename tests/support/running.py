"""A real daemon in a process of its own, started as its users start it."""

import http.client
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

#: Settings that make a state in seconds: the shapes of keys do not matter to most tests.
QUICK = {"CARDD_PKI__CA_ALGORITHM": "rsa_2048", "CARDD_HTTP_PORT": "0", "CARDD_LOG__FORMAT": "json"}

_READY_WITHIN = 120.0
_STOPPED_WITHIN = 30.0
_ADDRESS = re.compile(r"http://[^\s]+")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)

    def of(self, *expected: int) -> "Answer":
        """Return the answer; one with another status fails with all that was answered."""
        assert self.status in expected, (self.status, self.body)
        return self


class RunningDaemon:
    """`cardd run` on a state directory; every call is one connection."""

    def __init__(self, state: Path, environment: Mapping[str, str] = QUICK) -> None:
        #: What the daemon and its commands are started with.
        self.launcher: tuple[str, ...] = ()
        self.settings = environment
        self.state = state
        self.log = state.parent / f"{state.name}.log"
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("CARDD_") and name not in ("LANG", "LC_ALL")
        }
        self.environment.update(environment, CARDD_STATE_DIR=str(state))
        self._process: subprocess.Popen[str] | None = None
        self.address = ""

    @property
    def pid(self) -> int:
        """The process identifier of the daemon."""
        assert self._process is not None
        return self._process.pid

    def cli(
        self, *arguments: str, stdin: str | None = None, check: bool = True, within: float = _READY_WITHIN
    ) -> subprocess.CompletedProcess[str]:
        """Run a `cardd` command against this state."""
        return subprocess.run(
            [*self.launcher, sys.executable, "-m", "cardd.cli", *arguments],
            env=self.environment,
            input=stdin if stdin is not None else "",
            capture_output=True,
            text=True,
            check=check,
            timeout=within,
        )

    def init(self, within: float = _READY_WITHIN) -> None:
        """Prepare the state, as `cardd init` does, in so many seconds at most."""
        done = self.cli("init", check=False, within=within)
        assert done.returncode == 0, done.stderr

    def start(self) -> "RunningDaemon":
        """Start the daemon and wait for its line with the address."""
        with self.log.open("a") as log:
            self._process = subprocess.Popen(
                [*self.launcher, sys.executable, "-m", "cardd.cli", "run"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found = _ADDRESS.search(line)
        assert found, f"no address in {line!r}; log: {self.log.read_text()[-2000:]}"
        self.address = found[0].rstrip("/")
        return self

    def stop(self) -> int:
        """Ask the daemon to end, as Ctrl-C and systemd do, and return its exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self.ended()

    def ended(self) -> int:
        """Wait until the daemon has ended by itself, and return its exit code."""
        assert self._process is not None
        code = self._process.wait(_STOPPED_WITHIN)
        self._close()
        return code

    def kill(self) -> None:
        """End the daemon at once if it still runs, as a power cut would."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(_STOPPED_WITHIN)
        self._close()

    def signal(self, number: signal.Signals) -> None:
        """Send the daemon a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def end(self) -> None:
        """End the daemon if it still runs."""
        if self._process is not None:
            self.stop()

    @property
    def token(self) -> str:
        """The owner's token."""
        return (self.state / "token").read_text().strip()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        token: str | None = "",
    ) -> Answer:
        """Call the web service as the owner; `token=None` calls it as nobody."""
        sent = {} if token is None else {"Authorization": f"Bearer {token or self.token}"}
        data = None
        if body is not None:
            data = msgspec.json.encode(body)
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        return self.exchange(method, path, data, sent)

    def send_form(self, path: str, form: str, headers: Mapping[str, str]) -> Answer:
        """Send a form as one of the daemon's own pages does."""
        return self.exchange("POST", path, form.encode(), headers)

    def exchange(self, method: str, path: str, data: bytes | None, sent: Mapping[str, str]) -> Answer:
        """Send a request as it is."""
        connection = self.connect()
        try:
            connection.request(method, path, data, dict(sent))
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection to the web service."""
        parts = urlsplit(self.address)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)

    def open_session(self, pin: str = "1234") -> tuple[str, dict[str, Any]]:
        """Open a session of the demonstration's card; return its identifier and the card's first habilitation."""
        card = next(each for each in self.call("GET", "/api/v1/cards").json["items"] if each["present"])
        answer = self.call("POST", f"/api/v1/cards/{card['serial']}/session", {"pin": pin})
        assert answer.status == 201, answer.body
        return answer.json["id"], answer.json["habilitations"][0]

    def _close(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._process = None
