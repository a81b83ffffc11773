"""The pages are compared with the program, and the comparison finds what is wrong."""

import re
import shlex
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from cardd.settings import load_settings
from cardd.store import SharedDatabase

TOP = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def script() -> Callable[[str], ModuleType]:
    """Import a script by its name."""

    def load(name: str) -> ModuleType:
        spec = spec_from_file_location(name, TOP / "scripts" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_readme_and_docs_agree_with_the_program(script: Callable[[str], ModuleType]) -> None:
    assert [str(finding) for finding in script("check_readme").findings()] == []


def test_the_configuration_reference_is_current(script: Callable[[str], ModuleType]) -> None:
    page = (TOP / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert script("configuration_reference").reference() == page, "run: make docs"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("cardd order new --offer ORG --csr my.csr", None),
        ("cardd --json order list --state=retrieved", None),
        ("cardd order nwe", "there is no command cardd order nwe"),
        ("cardd order new --ofer ORG", "has no option --ofer"),
        ("cardd nothing", "there is no command cardd nothing"),
    ],
)
def test_a_command_that_does_not_exist_is_found(
    script: Callable[[str], ModuleType], line: str, wrong: str | None
) -> None:
    found = list(script("check_readme").check_command(shlex.split(line)))
    assert len(found) == (0 if wrong is None else 1)
    assert wrong is None or wrong in found[0]


def test_the_settings_shown_for_several_machines_are_settings(tmp_path: Path) -> None:
    page = (TOP / "docs" / "several-machines.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert blocks
    (tmp_path / "cardd.toml").write_text("\n".join(blocks), encoding="utf-8")
    settings = load_settings({}, config_file=tmp_path / "cardd.toml")
    assert SharedDatabase.of(settings.store) is not None
    assert settings.machines.listen
