"""OpenSSL, nginx and HAProxy refuse a certificate as soon as it is revoked, by the files that `cardd crl export` keeps.

Their settings are those of docs/programs-that-read-lists.md, with its directories replaced.
"""

import json
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.running import RunningDaemon

PAGE = Path(__file__).resolve().parents[2] / "docs" / "programs-that-read-lists.md"
ISSUER = "ACI-EL-ORG-TEST.crl"
FILES = "/var/lib/cardd-crls"


def _needs(*programs: str) -> pytest.MarkDecorator:
    missing = [each for each in programs if shutil.which(each) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"this needs {', '.join(missing)}: apt-get install nginx-light haproxy socat"
    )


def _example(language: str, files: Path) -> str:
    """Return the page's only block of a language, with the test's directory in the place of the page's."""
    (found,) = re.findall(
        rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    return str(found).replace(FILES, str(files))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon for the tests of this file."""
    environment = {"CARDD_PKI__CA_ALGORITHM": "ec_p256", "CARDD_HTTP_PORT": "0", "CARDD_READERS__PCSC": "off"}
    running = RunningDaemon(tmp_path_factory.mktemp("readers") / "state", environment).start()
    yield running
    running.end()


@pytest.fixture
def serial(daemon: RunningDaemon, tmp_path: Path) -> str:
    """The serial of a client's certificate; in the test's directory its key, a server's, the lists and the roots."""
    _openssl(
        tmp_path, "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "client.key"
    )
    _openssl(tmp_path, "req", "-new", "-key", "client.key", "-subj", "/CN=x", "-out", "client.csr")
    ordered = daemon.cli(
        "order", "new", "--offer", "ORG", "--usage", "AUTH_CLI", "--service", "READER", "--contact", "me@example.org",
        "--csr", str(tmp_path / "client.csr"), "--pin-stdin", "--json", stdin="1234\n",
    )  # fmt: skip
    order = json.loads(ordered.stdout)["id"]
    daemon.cli("key", "prove", order, "--key", str(tmp_path / "client.key"))
    daemon.cli(
        "retrieve", order, "--accept-terms", "--pin-stdin", "--code-stdin",
        "--output", str(tmp_path / "certificate.pem"), stdin="1234\nmy-revocation-code\n",
    )  # fmt: skip
    subject = [
        "-subj",
        "/CN=localhost",
        "-days",
        "2",
        "-nodes",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
    ]
    _openssl(tmp_path, "req", "-x509", *subject, "-keyout", "site.key", "-out", "site.crt")
    (tmp_path / "site.pem").write_text(
        (tmp_path / "site.crt").read_text() + (tmp_path / "site.key").read_text()
    )
    daemon.cli("crl", "export", str(tmp_path / "files"))
    daemon.cli(
        "trust", "--format", "pem", "--scope", "local", "--output", str(tmp_path / "files" / "trust.pem")
    )
    return str(daemon.call("GET", f"/api/v1/orders/{order}").json["certificate"])


def _openssl(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(["openssl", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or arguments[0] == "verify", done.stderr
    return done


def _revoke(daemon: RunningDaemon, serial: str) -> None:
    daemon.cli("revoke", serial, "--reason", "superseded", "--yes")


@contextmanager
def _watch(daemon: RunningDaemon, files: Path, run: str) -> Iterator[Iterator[list[str]]]:
    """Keep the files current; yields what was written each time, once `run` has been run."""
    command = [
        sys.executable,
        "-m",
        "cardd.cli",
        "--json",
        "crl",
        "export",
        str(files),
        "--watch",
        "--run",
        run,
    ]
    with subprocess.Popen(command, env=daemon.environment, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        try:
            yield _written(watching.stdout)
        finally:
            watching.terminate()


def _written(lines: Iterator[str]) -> Iterator[list[str]]:
    text = ""
    for line in lines:
        text += line
        if line == "}\n":
            yield json.loads(text)["written"]
            text = ""


def _free_port() -> int:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return int(probing.getsockname()[1])


def _status(folder: Path, port: int) -> str:
    """Return what a client with the certificate is answered: an HTTP status, or 000 where TLS fails."""
    done = subprocess.run(
        ["curl", "-sk", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "--retry-max-time", "15",
         "-o", "/dev/null", "-w", "%{http_code}", "--cert", "certificate.pem", "--key", "client.key", f"https://127.0.0.1:{port}/"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def test_openssl_finds_the_lists_in_the_directory(daemon: RunningDaemon, serial: str, tmp_path: Path) -> None:
    script = next(line for line in PAGE.read_text().splitlines() if line.startswith("openssl verify"))
    arguments = script.replace(FILES, str(tmp_path / "files")).split()[1:]
    assert _openssl(tmp_path, *arguments).stdout == "certificate.pem: OK\n"
    _revoke(daemon, serial)
    daemon.cli("crl", "export", str(tmp_path / "files"))
    assert "certificate revoked" in _openssl(tmp_path, *arguments).stderr


@_needs("nginx", "curl")
def test_nginx_refuses_a_client_once_its_certificate_is_revoked(
    daemon: RunningDaemon, serial: str, tmp_path: Path
) -> None:
    port, files = _free_port(), tmp_path / "files"
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"""
        daemon off; user root; pid {tmp_path}/nginx.pid; error_log stderr; events {{}}
        http {{
          access_log off; client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path}; fastcgi_temp_path {tmp_path};
          uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};
          server {{
            listen 127.0.0.1:{port} ssl; ssl_certificate {tmp_path}/site.pem; ssl_certificate_key {tmp_path}/site.key;
            {_example("nginx", files)}
            location / {{ return 204; }}
          }}
        }}
        """
    )
    reload = f"nginx -c {configuration} -s reload"
    with subprocess.Popen(["nginx", "-c", configuration], stderr=subprocess.PIPE) as server:
        try:
            assert _status(tmp_path, port) == "204"
            with _watch(daemon, files, reload) as written:
                _revoke(daemon, serial)
                assert any(ISSUER in each for each in written)
                answers = (_status(tmp_path, port) for _ in range(200))
                assert "400" in answers, "nginx takes a moment to replace its workers"
        finally:
            server.terminate()


@_needs("haproxy", "socat", "curl")
def test_haproxy_refuses_a_client_without_a_reload(
    daemon: RunningDaemon, serial: str, tmp_path: Path
) -> None:
    port, files, admin = _free_port(), tmp_path / "files", tmp_path / "admin.sock"
    bind = (
        _example("haproxy", files).replace(":443", f"127.0.0.1:{port}").replace("/etc/haproxy", str(tmp_path))
    )
    configuration = tmp_path / "haproxy.cfg"
    configuration.write_text(
        f"""
global
  stats socket {admin} level admin
defaults
  mode http
  timeout client 5s
frontend site
  {bind.strip()}
  http-request return status 204
"""
    )
    scripts = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (script,) = (each for each in scripts if "socat" in each)
    replace = tmp_path / "replace.sh"
    replace.write_text(script.replace(FILES, str(files)).replace("/run/haproxy/admin.sock", str(admin)))
    with subprocess.Popen(["haproxy", "-f", configuration, "-db", "-q"]) as server:
        try:
            assert _status(tmp_path, port) == "204"
            with _watch(daemon, files, f"sh {replace}") as written:
                _revoke(daemon, serial)
                assert any(ISSUER in each for each in written)
                assert _status(tmp_path, port) == "000"
        finally:
            server.terminate()
