"""What is built and said of it: the same wheel twice, a bill of materials of the lock, licences."""

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[3]
_PINNED = re.compile(r"^([A-Za-z0-9._-]+)==", re.MULTILINE)


def _require(module: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"the tool {module} is not installed: make dev")


def _wheel(source: Path, target: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(target), str(source)],
        env={**os.environ, "SOURCE_DATE_EPOCH": "1767225600"},
        check=True,
        capture_output=True,
    )
    return next(target.glob("*.whl"))


def test_the_same_tree_makes_the_same_wheel_wherever_it_lies(tmp_path: Path) -> None:
    _require("build")
    kept = ("cardd", "pkcs11", "webservice", "softhsm-config", "pyproject.toml", "README.md")
    wheels = []
    for name in ("one", "another"):
        folder = tmp_path / name
        folder.mkdir()
        for each in kept:
            source = TOP / each
            if source.is_dir():
                shutil.copytree(source, folder / each, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, folder / each)
        wheels.append(_wheel(folder, tmp_path / f"{name}-dist"))
        os.utime(folder)
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    names = set(zipfile.ZipFile(wheels[0]).namelist())
    assert {"cardd_pkcs11/profiles/softhsm2.toml", "cardd_webservice/ihm/templates/layout.html"} <= names
    assert {"cardd/store/migrations/versions/0001_first_release.py", "cardd/backup/making.py"} <= names


def test_the_bill_of_materials_names_every_package_of_the_lock(tmp_path: Path) -> None:
    _require("cyclonedx_py")
    file = tmp_path / "cardd.cdx.json"
    command = [sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py", "requirements", "--pyproject",
               "pyproject.toml", "--output-reproducible", "--spec-version", "1.6", "--output-file", str(file),
               "requirements.lock"]  # fmt: skip
    subprocess.run(command, cwd=TOP, check=True, capture_output=True)
    bill = json.loads(file.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "cardd"
    locked = set(_PINNED.findall((TOP / "requirements.lock").read_text()))
    assert {each["name"] for each in bill["components"]} == locked
    assert all(each["externalReferences"][0]["hashes"] for each in bill["components"])


def test_the_licences_are_listed_and_allowed() -> None:
    _require("piplicenses")
    command = [sys.executable, str(TOP / "scripts" / "licences.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
