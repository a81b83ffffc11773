"""The vault of PINs."""

from pathlib import Path

import pytest

from cardd.custody.errors import PinVaultError
from cardd.custody.pins import PinVault
from cardd_pkcs11.types import TokenSerial

SERIAL = TokenSerial("00ff00ff00ff00ff")


@pytest.fixture
def vault(tmp_path: Path) -> PinVault:
    return PinVault(tmp_path / "pins")


def test_pins_are_random_and_read_back(vault: PinVault) -> None:
    first, second = vault.create("one"), vault.create("two")
    assert len({first.user, first.security_officer, second.user, second.security_officer}) == 4
    vault.assign("one", SERIAL)
    assert vault.read(SERIAL) == first.user
    assert vault.read_pins(SERIAL) == first
    assert vault.serials() == (SERIAL,)
    assert vault.pending() == ("two",)


def test_the_pin_file_holds_the_pin_alone_for_its_owner_alone(vault: PinVault) -> None:
    pins = vault.create("one")
    vault.assign("one", SERIAL)
    file = vault.pin_file(SERIAL)
    assert file.is_absolute()
    assert len(pins.user) <= 31, "OpenSSL's engine reads no more from a file"
    assert file.read_text() == pins.user.reveal()
    assert file.stat().st_mode & 0o777 == 0o600
    for directory in (file.parent, file.parent.parent):
        assert directory.stat().st_mode & 0o777 == 0o700


def test_pins_recorded_before_a_crash_are_the_ones_used_after_it(vault: PinVault, tmp_path: Path) -> None:
    pins = vault.create("label with / and é")
    again = PinVault(tmp_path / "pins")
    assert again.pending() == ("label with / and é",)
    assert again.create("label with / and é") == pins


def test_a_record_cut_short_is_cleared_away(vault: PinVault, tmp_path: Path) -> None:
    half_made = tmp_path / "pins" / ".new-1234"
    half_made.mkdir()
    (half_made / "user.pin").write_text("1")
    again = PinVault(tmp_path / "pins")
    assert not half_made.exists()
    assert again.pending() == ()


def test_assigning_twice_is_the_same_as_once(vault: PinVault) -> None:
    vault.create("one")
    vault.assign("one", SERIAL)
    vault.assign("one", SERIAL)
    assert vault.serials() == (SERIAL,)


def test_an_unknown_token_has_no_pin(vault: PinVault) -> None:
    with pytest.raises(PinVaultError):
        vault.read(SERIAL)
