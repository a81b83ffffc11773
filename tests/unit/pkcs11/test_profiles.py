"""Module profiles."""

import sys
from pathlib import Path

import msgspec
import pytest

from cardd_pkcs11.errors import ModuleMissingError
from cardd_pkcs11.profiles import ModuleProfile, load_profile, profile_names
from cardd_pkcs11.types import CustodyLevel, DecryptMechanism, SignMechanism


@pytest.mark.parametrize("name", profile_names())
def test_every_profile_shipped_is_valid(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert profile.title.fr
    assert profile.title.en
    assert set(profile.quirks.unavailable_mechanisms) <= {*SignMechanism, *DecryptMechanism}


def test_softhsm_promises_no_more_than_software() -> None:
    assert load_profile("softhsm2").custody is CustodyLevel.SOFTWARE


def test_an_unknown_profile_says_so() -> None:
    with pytest.raises(ModuleMissingError, match="no module profile"):
        load_profile("nothing")


def test_a_missing_module_names_where_it_was_looked_for_and_what_to_install(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.so")
    profile = msgspec.structs.replace(load_profile("softhsm2"), paths={sys.platform: (absent,)})
    with pytest.raises(ModuleMissingError, match=f"{absent}.*install softhsm2"):
        profile.locate()


def test_an_unknown_setting_is_refused() -> None:
    raw = msgspec.to_builtins(load_profile("softhsm2"))
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**raw, "colour": "blue"}, ModuleProfile)
