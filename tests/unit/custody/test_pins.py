"""The vault of PINs."""

from pathlib import Path

import pytest

from cardd.custody.errors import PinVaultError
from cardd.custody.pins import PinVault
from cardd.custody.seal import SealBrokenError, Sealer, SecretKeeper
from cardd_pkcs11.types import TokenSerial

SERIAL = TokenSerial("00ff00ff00ff00ff")

SEALER = Sealer(b"s" * 32, b"machine", SecretKeeper.KEY_FILE)


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


def test_a_pin_is_nowhere_in_clear_before_it_is_exported(vault: PinVault, tmp_path: Path) -> None:
    pins = vault.create("one")
    vault.assign("one", SERIAL)
    assert vault.pin_file(SERIAL) is None
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert pins.user.reveal().encode() not in content
    assert pins.security_officer.reveal().encode() not in content


def test_an_exported_pin_file_holds_the_pin_alone_for_its_owner_alone(vault: PinVault) -> None:
    pins = vault.create("one")
    vault.assign("one", SERIAL)
    file = vault.export(SERIAL)
    assert vault.pin_file(SERIAL) == file
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


def test_a_token_is_bound_to_the_machine_until_its_pin_is_exported(tmp_path: Path) -> None:
    vault = PinVault(tmp_path / "pins", SEALER)
    vault.create("one")
    vault.assign("one", SERIAL)
    assert vault.binds(SERIAL)
    vault.export(SERIAL)
    assert not vault.binds(SERIAL)
    vault.withdraw(SERIAL)
    assert vault.binds(SERIAL)


def test_without_a_machine_identifier_nothing_is_said_to_be_bound_to_it(tmp_path: Path) -> None:
    sealer = Sealer(b"s" * 32, None, SecretKeeper.KEY_FILE)
    vault = PinVault(tmp_path / "pins", sealer)
    vault.create("one")
    vault.assign("one", SERIAL)
    assert not vault.binds(SERIAL)


def test_a_record_does_not_open_on_another_machine_or_with_another_secret(tmp_path: Path) -> None:
    vault = PinVault(tmp_path / "pins", SEALER)
    vault.create("one")
    vault.assign("one", SERIAL)
    for other in (
        Sealer(b"s" * 32, b"another machine", SecretKeeper.KEY_FILE),
        Sealer(b"t" * 32, b"machine", SecretKeeper.KEY_FILE),
    ):
        with pytest.raises(SealBrokenError):
            PinVault(tmp_path / "pins", other).read(SERIAL)


def test_the_next_pin_is_recorded_before_it_replaces_the_present_one(tmp_path: Path) -> None:
    vault = PinVault(tmp_path / "pins", SEALER)
    first = vault.create("one")
    vault.assign("one", SERIAL)
    following = vault.prepare_next(SERIAL)
    assert following.security_officer == first.security_officer
    assert vault.read(SERIAL) == first.user != following.user
    again = PinVault(tmp_path / "pins", SEALER)
    assert again.changing() == (SERIAL,)
    assert again.prepare_next(SERIAL) == following
    again.take_next(SERIAL)
    assert again.read(SERIAL) == following.user
    assert again.changing() == ()


def test_an_unknown_token_has_no_pin(vault: PinVault) -> None:
    with pytest.raises(PinVaultError):
        vault.read(SERIAL)
