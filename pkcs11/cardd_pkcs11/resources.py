"""Where the files shipped beside the code are: module profiles and configuration templates."""

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parent
_IN_SOURCE_TREE = {
    "profiles": _PACKAGE.parent / "profiles",
    "softhsm-config": _PACKAGE.parent.parent / "softhsm-config",
}


def resource_directory(name: Literal["profiles", "softhsm-config"]) -> Path:
    """Return the directory of that name: inside the installed package, else in the source tree."""
    installed = _PACKAGE / name
    return installed if installed.is_dir() else _IN_SOURCE_TREE[name]


def source_root() -> Path:
    """Return the directory from which `cardd_pkcs11` is imported."""
    return _PACKAGE.parent
