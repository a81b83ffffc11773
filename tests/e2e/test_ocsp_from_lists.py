"""OCSP for a CA that certomancer has made, asked as docs/ocsp.md describes, with OpenSSL and Java."""

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from cardd.clock import SystemClock
from tests.support.running import QUICK, RunningDaemon

pytest.importorskip(
    "certomancer", reason="the foreign PKI needs the package certomancer: pip install certomancer"
)

from tests.support.foreignpki import ForeignPki, foreign_pki

PAGE = Path(__file__).resolve().parents[2] / "docs" / "ocsp.md"
_JAVA = """
import java.io.InputStream;
import java.net.URI;
import java.nio.file.*;
import java.security.cert.*;
import java.util.*;

public class Check {{
    public static void main(String[] arguments) throws Exception {{
{example}
        System.out.println("valid");
    }}
}}
"""


def _example(language: str) -> str:
    """Return the page's only block of a language."""
    (found,) = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return str(found)


@contextmanager
def _published(content: bytes) -> Iterator[str]:
    """Serve bytes; yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/list.crl"
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon that may answer for every CA whose list it keeps."""
    settings = {
        "CARDD_PKI__CA_ALGORITHM": "ec_p256",
        "CARDD_READERS__PCSC": "off",
        "CARDD_REVOCATION__OCSP": "all",
    }
    running = RunningDaemon(tmp_path_factory.mktemp("ocsp") / "state", QUICK | settings).start()
    yield running
    running.end()


@pytest.fixture(scope="module")
def foreign(daemon: RunningDaemon, tmp_path_factory: pytest.TempPathFactory) -> ForeignPki:
    """A PKI of certomancer's making, the list of whose CA `direct` is kept."""
    directory = tmp_path_factory.mktemp("foreign")
    made = foreign_pki(directory, "http://127.0.0.1:9")
    (directory / "ca.pem").write_text(made.pem("direct"))
    with _published(made.whole_crl(SystemClock().now().replace(microsecond=0))) as url:
        daemon.cli("crl", "add", url, "--issuer", str(directory / "ca.pem"))
    return made


@pytest.fixture
def folder(foreign: ForeignPki, tmp_path: Path) -> Path:
    """A directory with the files that the page names."""
    (tmp_path / "ca.pem").write_text(foreign.pem("direct"))
    (tmp_path / "certificate.pem").write_text(foreign.pem("good"))
    return tmp_path


def _follow(daemon: RunningDaemon, folder: Path) -> str:
    """Run the page's commands and return all that they print."""
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail"], input=_example("bash"), cwd=folder, env=daemon.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.stdout


def test_openssl_is_answered_as_described(daemon: RunningDaemon, foreign: ForeignPki, folder: Path) -> None:
    printed = _follow(daemon, folder)
    assert "Response verify OK" in printed, printed
    assert "certificate.pem: good" in printed, printed
    (folder / "certificate.pem").write_text(foreign.pem("revoked"))
    printed = _follow(daemon, folder)
    assert "certificate.pem: revoked" in printed, printed
    assert "Reason: superseded" in printed, printed


@pytest.mark.skipif(
    shutil.which("java") is None, reason="this needs java: apt-get install default-jdk-headless"
)
def test_java_is_answered_as_described(daemon: RunningDaemon, foreign: ForeignPki, folder: Path) -> None:
    _follow(daemon, folder)
    program = _JAVA.format(example=_example("java").replace("http://127.0.0.1:8980", daemon.address))
    (folder / "Check.java").write_text(program)

    def checked() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["java", "Check.java"], cwd=folder, capture_output=True, text=True, check=False, timeout=120
        )

    assert checked().stdout == "valid\n", checked().stderr
    (folder / "certificate.pem").write_text(foreign.pem("revoked"))
    assert "Certificate has been revoked, reason: SUPERSEDED" in checked().stderr
