"""`cardd virtual-card run` as a CI uses it: a process of its own, a line when the card is in, gone when interrupted."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cardd.virtualcard import ConfinedPcscd, KeyRole
from tests.integration.virtualcard.conftest import MODULES
from tests.support.virtualcard import certificate, private_key

ROOT = Path(__file__).parents[3]


@contextmanager
def _running(*arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "cardd.cli", "virtual-card", "run", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_card_of_given_keys_stands_in_a_confined_reader_and_signs(tmp_path: Path) -> None:
    missing = ConfinedPcscd.missing_part()
    module = next((path for path in MODULES if path.exists()), None)
    if missing is not None or module is None or shutil.which("pkcs11-tool") is None:
        pytest.skip("needs pcscd, vpcd and OpenSC")
    role = KeyRole.AUTHENTICATION
    issued = x509.load_der_x509_certificate(certificate(role))
    (tmp_path / "cert.pem").write_bytes(issued.public_bytes(Encoding.PEM))
    key = private_key(role).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(key)
    (tmp_path / "pin").write_text("73519\n")
    with _running(
        tmp_path / "card", "--confined", "--serial", "28006362", "--pin-file", tmp_path / "pin",
        "--authentication", tmp_path / "cert.pem", tmp_path / "key.pem",
    ) as process:  # fmt: skip
        name, _, socket = _line(process).partition("=")
        assert name == "PCSCLITE_CSOCK_NAME"
        assert _line(process) == "inserted 28006362"
        listed = subprocess.run(
            ["pkcs11-tool", "--module", module, "--login", "--pin", "73519", "--list-objects"],
            env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), name: socket},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "CPS_PRIV_AUT" in listed.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert _line(process) == "removed 28006362"
    with _running(tmp_path / "card", "--confined", "--json") as process:
        started, inserted = json.loads(_line(process)), json.loads(_line(process))
        assert started["event"] == "started"
        assert inserted == {"event": "inserted", "serial": "28006362"}


def test_without_a_reader_one_sentence_says_so(tmp_path: Path) -> None:
    with _running(tmp_path / "card", "--port", "1") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "No virtual reader listens at 127.0.0.1:1" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("options", [["--serial", "123"], ["--authentication", "missing.pem", "missing.pem"]])
def test_what_no_card_could_be_is_refused_before_anything_is_written(
    tmp_path: Path, options: list[str]
) -> None:
    with _running(tmp_path / "card", *options) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Traceback" not in errors
    assert not (tmp_path / "card").exists()
