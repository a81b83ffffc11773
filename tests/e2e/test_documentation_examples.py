"""The README's examples, followed literally with bash against a daemon started as the README says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.support.running import RunningDaemon
from tests.support.softhsm import require_tool

TOP = Path(__file__).resolve().parents[2]

_SECTION = r"^## {title}\n(?P<body>.*?)(?=^## |\Z)"
_BLOCK = re.compile(r"^```bash\n(?P<script>.*?)^```", re.MULTILINE | re.DOTALL)


def _script(page: Path, title: str | None = None) -> str:
    """Return what the bash blocks of a page, or of one section of it, say one after the other."""
    text = page.read_text(encoding="utf-8")
    if title is not None:
        section = re.search(_SECTION.format(title=re.escape(title)), text, re.MULTILINE | re.DOTALL)
        assert section, f"{page.name} has no section “{title}”"
        text = section["body"]
    return "".join(block["script"] for block in _BLOCK.finditer(text))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory that looks like the project's after `make`: `.venv/bin` holds the commands."""
    commands = tmp_path / ".venv" / "bin"
    commands.mkdir(parents=True)
    launcher = commands / "cardd"
    launcher.write_text(
        f'#!/bin/sh\nPYTHONPATH={TOP}:{TOP}/pkcs11:{TOP}/webservice exec {sys.executable} -m cardd.cli "$@"\n'
    )
    launcher.chmod(0o755)
    python = commands / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def _follow(script: str, daemon: RunningDaemon, tree: Path) -> str:
    """Run a script as a newcomer pastes it, and return all that it printed."""
    bash = shutil.which("bash")
    assert bash
    path = f"{tree}/.venv/bin:{os.environ['PATH']}"
    done = subprocess.run(
        [bash, "-u", "-o", "pipefail"],
        input=script,
        cwd=tree,
        env={**daemon.environment, "PATH": path, "TMPDIR": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=120,
    )
    return done.stdout


def test_the_first_order_is_followed_literally(daemon: RunningDaemon, tree: Path) -> None:
    printed = _follow(_script(TOP / "README.md", "A first order"), daemon, tree)
    before, revoked, after = printed.partition("certificate revoked")
    assert "me.pem: OK" in before, printed
    assert "me.pem: good" in before, printed
    assert revoked, printed
    assert "me.pem: revoked" in after, printed
    assert printed.count("Response verify OK") == 2, printed
    assert "error:" not in before, printed


def test_the_same_with_curl_is_followed_literally(daemon: RunningDaemon, tree: Path) -> None:
    printed = _follow(_script(TOP / "README.md", "The same with curl"), daemon, tree)
    assert '"state": "retrieved"' in printed, printed
    assert '"pkcs11_uri": "pkcs11:' in printed, printed
    assert '"state": "revoked"' in printed, printed
    assert "urn:cardd:error" not in printed, printed


def test_what_keeps_keys_where_they_are_is_shown_as_described(daemon: RunningDaemon, tree: Path) -> None:
    printed = _follow(
        _script(TOP / "README.md", "A first order").partition("check()")[0]
        + _script(TOP / "docs" / "key-custody.md"),
        daemon,
        tree,
    )
    assert "The statement is valid" in printed, printed
    assert "1.2.840.113549.1.9.16.2.59" in printed, printed
    assert "?pin-source=file:" in printed, printed
    assert "keys.swept" in printed, printed
    assert "error:" not in printed, printed


def test_keys_are_used_from_other_programs_as_described(daemon: RunningDaemon, tree: Path) -> None:
    for tool in ("keytool", "modutil", "certutil"):
        require_tool(tool)
    if not Path("/usr/sbin/nginx").exists():
        pytest.skip("nginx is not installed")
    page = TOP / "docs" / "keys-from-programs.md"
    printed = _follow(
        _script(TOP / "README.md", "A first order").partition("check()")[0] + _script(page), daemon, tree
    )
    assert printed.count("Verified OK") == 2, printed
    assert "CN=MY-SERVICE" in printed.partition("Verified OK")[2], printed
    assert "token initialized" in printed, printed
    assert "Certificate request self-signature verify OK" in printed, printed
    assert "served with the key on the token" in printed, printed
    assert re.search(r":MY-SERVICE +u,u,u", printed), printed


def test_an_application_is_paired_as_described(daemon: RunningDaemon, tree: Path) -> None:
    printed = _follow(_script(TOP / "docs" / "applications.md"), daemon, tree)
    assert '"name":"My software"' in printed, printed
    assert '"scopes":["read"]' in printed, printed
    assert "urn:cardd:error" not in printed, printed
    assert (tree / "my-software.token").stat().st_mode & 0o077 == 0


def test_a_key_of_one_s_own_proves_itself_as_described(daemon: RunningDaemon, tree: Path) -> None:
    first_line = 'export CARDD_STATE_DIR="$CARDD_STATE_DIR"\n'
    printed = _follow(first_line + _script(TOP / "docs" / "possession.md"), daemon, tree)
    assert "mine.pem: OK" in printed, printed
    assert re.search(r"possession +proven", printed), printed
    assert "error:" not in printed, printed


@pytest.mark.parametrize("daemon", ["ec_p256"], indirect=True)
def test_revocation_is_asked_about_as_described(daemon: RunningDaemon, tree: Path) -> None:
    """With bash, then with Python, on a certificate and its CA's in the directory one is in."""
    script = _script(TOP / "README.md", "A first order").partition("check()")[0]
    printed = _follow(script + 'cp "$work/me.pem" certificate.pem\n', daemon, tree)
    assert (tree / "certificate.pem").exists(), printed
    for name in ("ca", "intermediates"):
        answer = daemon.call("GET", "/AC/ACI-EL-ORG-TEST.cer", token=None)
        (tree / f"{name}.pem").write_bytes(
            x509.load_der_x509_certificate(answer.body).public_bytes(Encoding.PEM)
        )
    page = TOP / "docs" / "revocation.md"
    printed = _follow(_script(page), daemon, tree)
    assert '"status":"good"' in printed, printed
    assert '"result":"valid"' in printed, printed
    assert printed.count("result  valid") == 2, printed
    assert all((tree / name).exists() for name in ("cardd-test.p12", "igc-sante-test.p7b")), printed
    assert "error:" not in printed, printed

    (program,) = re.findall(
        r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    program = program.replace("/var/lib/cardd", str(daemon.state))
    (tree / "example.py").write_text(f"import asyncio\n\n{program}\n\nasyncio.run(follow())\n")
    done = subprocess.run(
        [sys.executable, "example.py"], cwd=tree, capture_output=True, text=True, check=False, timeout=60,
        env={**daemon.environment, "PYTHONPATH": f"{TOP}:{TOP}/pkcs11:{TOP}/webservice"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("valid ["), done.stdout
    assert done.stdout.count("good fresh accept") == 4, done.stdout
    assert "crl." in done.stdout.splitlines()[-1], done.stdout
