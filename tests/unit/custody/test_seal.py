"""Secrets sealed to a state and a machine."""

import shutil
from pathlib import Path

import pytest

from cardd.custody.seal import SealBrokenError, Sealer, SecretKeeper, open_sealer

MACHINE = b"0123456789abcdef0123456789abcdef"


def _sealer(secret: bytes = b"s" * 32, machine: bytes | None = MACHINE) -> Sealer:
    return Sealer(secret, machine, SecretKeeper.KEY_FILE)


def test_what_was_sealed_opens_again_and_looks_different_each_time() -> None:
    first, second = _sealer().seal(b"1234", "PIN"), _sealer().seal(b"1234", "PIN")
    assert first != second
    assert _sealer().open(first, "PIN") == _sealer().open(second, "PIN") == b"1234"


@pytest.mark.parametrize(
    ("other", "purpose"),
    [
        (_sealer(machine=b"f" * 32), "PIN"),
        (_sealer(machine=None), "PIN"),
        (_sealer(secret=b"t" * 32), "PIN"),
        (_sealer(), "key"),
    ],
)
def test_it_opens_on_no_other_machine_with_no_other_secret_and_for_nothing_else(
    other: Sealer, purpose: str
) -> None:
    with pytest.raises(SealBrokenError):
        other.open(_sealer().seal(b"1234", "PIN"), purpose)


def test_every_changed_byte_is_seen() -> None:
    sealed = _sealer().seal(b"1234", "PIN")
    for position in range(len(sealed) - 29, len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SealBrokenError):
            _sealer().open(bytes(changed), "PIN")
    with pytest.raises(SealBrokenError):
        _sealer().open(b"", "PIN")


def test_a_state_keeps_its_secret_readable_by_its_owner_alone(tmp_path: Path) -> None:
    sealed = open_sealer(tmp_path).seal(b"1234", "PIN")
    assert open_sealer(tmp_path).open(sealed, "PIN") == b"1234"
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert b"1234" not in kept.read_bytes()


def test_without_systemd_creds_a_key_file_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    sealer = open_sealer(tmp_path, machine_id=MACHINE)
    assert sealer.keeper is SecretKeeper.KEY_FILE
    assert sealer.binds_machine
    sealed = sealer.seal(b"1234", "PIN")
    assert open_sealer(tmp_path, machine_id=MACHINE).open(sealed, "PIN") == b"1234"
    with pytest.raises(SealBrokenError):
        open_sealer(tmp_path, machine_id=b"f" * 32).open(sealed, "PIN")


def test_a_credential_that_does_not_open_here_is_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "seal.cred").write_bytes(b"made elsewhere")
    with pytest.raises(SealBrokenError) as refused:
        open_sealer(tmp_path)
    assert "seal.cred" in refused.value.detail.en


def test_the_machine_is_named_without_showing_its_identifier() -> None:
    assert MACHINE.decode() not in _sealer().machine
    assert _sealer().machine != _sealer(machine=b"f" * 32).machine
    assert "sss" not in repr(_sealer())
