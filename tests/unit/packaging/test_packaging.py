"""What is shipped beside the program: units that systemd understands, rules and panels over numbers that exist."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.softhsm import require_tool

PACKAGING = Path(__file__).resolve().parents[3] / "packaging"
SOURCES = Path(__file__).resolve().parents[3]
_METRIC = re.compile(r"\b(cardd_[a-z_]+|process_[a-z_]+)")
_SUFFIXES = re.compile(r"_(total|bucket|count|sum)$")


@pytest.fixture(scope="module")
def units(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The units, with a program that is there."""
    folder = tmp_path_factory.mktemp("units")
    for unit in (PACKAGING / "systemd").iterdir():
        text = unit.read_text().replace("/opt/cardd/bin/cardd", sys.executable)
        (folder / unit.name).write_text(text)
    return folder


def test_systemd_understands_the_units(units: Path) -> None:
    tool = require_tool("systemd-analyze")
    done = subprocess.run(
        [tool, "verify", "--man=no", *sorted(map(str, units.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if "cardd" in line]
    assert (done.returncode, ours) == (0, []), done.stderr


def test_the_service_stays_as_closed_as_documented(units: Path) -> None:
    tool = require_tool("systemd-analyze")
    command = [
        tool,
        "security",
        "--offline=true",
        "--threshold=20",
        "--no-pager",
        str(units / "cardd.service"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"exposure level for cardd.service: ([0-9.]+)", done.stdout)
    assert found is not None, done.stderr
    assert found[1] in (SOURCES / "docs" / "install.md").read_text(), "docs/install.md says another level"
    assert done.returncode == 0, done.stdout


def test_prometheus_takes_the_alert_rules() -> None:
    tool = require_tool("promtool")
    done = subprocess.run(
        [tool, "check", "rules", str(PACKAGING / "prometheus" / "cardd.rules.yml")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_panels_and_documentation_name_numbers_that_the_daemon_has() -> None:
    code = "".join(
        (SOURCES / path).read_text()
        for path in ("cardd/metrics.py", "webservice/cardd_webservice/metrics.py")
    )
    rules = (PACKAGING / "prometheus" / "cardd.rules.yml").read_text()
    board = json.loads((PACKAGING / "grafana" / "cardd.json").read_text())
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    page = (SOURCES / "docs" / "watching.md").read_text()
    numbers = page.partition("## Numbers")[2].partition("## Alerts")[0]
    named = _METRIC.findall(rules + asked + " ".join(re.findall(r"`([^`]+)`", numbers)))
    names = {_SUFFIXES.sub("", name) for name in named if not name.startswith("process")}
    assert names
    assert [name for name in sorted(names) if f'"{name}"' not in code] == []


def test_what_the_container_copies_is_there() -> None:
    text = (PACKAGING / "container" / "Containerfile").read_text()
    copied = [
        name for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE) for name in line.split()
    ]
    assert [name for name in copied if not (SOURCES / name).exists()] == []
    built = tomllib.loads((SOURCES / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    needed = {Path(name).parts[0] for name in (*built["packages"], *built.get("force-include", {}))}
    assert needed <= set(copied), "the wheel needs more than is copied"
    assert "." not in copied, "a state directory would go along"


def test_the_container_builds_with_what_the_lock_holds() -> None:
    """Without isolation the build needs its backend among what is installed before."""
    backend = tomllib.loads((SOURCES / "pyproject.toml").read_text())["build-system"]["requires"]
    locked = (SOURCES / "requirements.lock").read_text()
    assert [name for name in backend if not re.search(rf"^{re.escape(name)}==", locked, re.MULTILINE)] == []
