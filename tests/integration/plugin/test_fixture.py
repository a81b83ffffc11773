"""The fixture that other projects get from cardd, in a pytest run of their own."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

_TEST = """
import ssl, sys, urllib.request, json

assert "cardd.client" not in sys.modules, "the plugin imports cardd before it is asked for"

def call(daemon, method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {daemon.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(daemon.address + path, data, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.loads(answer.read())

def test_the_card_is_inserted_and_authorised(cardd_daemon):
    card = call(cardd_daemon, "GET", f"/api/v1/cards/{cardd_daemon.card}")
    assert card["present"] and card["medium"] == cardd_daemon.medium == MEDIUM
    assert cardd_daemon.token not in repr(cardd_daemon)
    session = call(cardd_daemon, "POST", f"/api/v1/cards/{cardd_daemon.card}/session", {"pin": cardd_daemon.pin})
    structures = [each["id"] for each in session["habilitations"][0]["structures"]]
    assert cardd_daemon.structure in structures

def test_the_daemon_is_the_same_for_the_whole_session(cardd_daemon):
    assert cardd_daemon.client().get("/health").json()["status"] == "ok"
"""


def _run(pytester: pytest.Pytester, medium: str) -> pytest.RunResult:
    pytester.makepyfile(f"MEDIUM = {medium!r}\n{_TEST}")
    return pytester.runpytest_subprocess("-p", "cardd.pytest_plugin", "-p", "no:randomly", "-q")


def _virtual_readers_run() -> bool:
    from cardd.virtualcard import ConfinedPcscd  # noqa: PLC0415  beside its use

    return ConfinedPcscd.missing_part() is None


def test_other_projects_get_a_daemon_with_a_virtual_card(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not _virtual_readers_run():
        pytest.skip("no virtual reader can run here")
    monkeypatch.setenv("CARDD_READERS__VIRTUAL", "on")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    _run(pytester, "virtual").assert_outcomes(passed=2)


def test_without_virtual_readers_the_card_is_one_on_softhsm(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARDD_READERS__PCSC", "off")
    monkeypatch.setenv("PYTHONPATH", ":".join(sys.path))
    _run(pytester, "softhsm").assert_outcomes(passed=2)


def test_the_plugin_imports_pytest_and_the_standard_library_only() -> None:
    code = (
        "import sys, pytest\nbefore = set(sys.modules)\nimport cardd.pytest_plugin\n"
        "print(sorted(name for name in set(sys.modules) - before if not name.startswith('cardd')))\n"
        "print(sorted(name for name in set(sys.modules) - before if name.startswith('cardd')))"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    others, ours = done.stdout.splitlines()
    assert ours == "['cardd', 'cardd.pytest_plugin']"
    assert "asyncio" not in others
