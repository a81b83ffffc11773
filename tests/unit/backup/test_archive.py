"""The file of a backup: whole for its recipients, nothing for anybody else, and never half."""

import io
from pathlib import Path

import pytest

from cardd.backup.archive import ArchiveWriter, new_identity, read_identities, read_recipients, reading
from cardd.backup.errors import BackupUnreadableError, RecipientInvalidError
from cardd.backup.layout import files_to_keep, is_of_a_state
from cardd.custody.pins import PinVault
from cardd.custody.seal import SealBrokenError, Sealer, SecretKeeper
from cardd_pkcs11.types import TokenSerial

BIG = bytes(range(256)) * 4096


def _archive(recipient: str) -> bytes:
    target = io.BytesIO()
    writer = ArchiveWriter(target, read_recipients([recipient]))
    writer.add_bytes("small", b"content")
    writer.add_bytes("folder/big", BIG)
    writer.finish()
    return target.getvalue()


def test_what_went_in_comes_out_in_its_order(tmp_path: Path) -> None:
    identity, recipient = new_identity()
    (tmp_path / "file").write_bytes(_archive(recipient))
    with reading(tmp_path / "file", read_identities(identity.encode())) as entries:
        found = [(name, content.read()) for name, _, content in entries]
    assert found == [("small", b"content"), ("folder/big", BIG)]


@pytest.mark.parametrize("cut", [10, 500, 70_000, 1_000_000, -1])
def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path, cut: int) -> None:
    identity, recipient = new_identity()
    (tmp_path / "file").write_bytes(_archive(recipient)[:cut])
    with (
        pytest.raises(BackupUnreadableError, match="cut short"),
        reading(tmp_path / "file", read_identities(identity.encode())) as entries,
    ):
        for _, _, content in entries:
            content.read()


def test_a_writer_that_is_given_up_leaves_nothing_that_opens(tmp_path: Path) -> None:
    identity, recipient = new_identity()
    with (tmp_path / "file").open("wb") as target:
        writer = ArchiveWriter(target, read_recipients([recipient]))
        writer.add_bytes("big", BIG)
        writer.abandon()
    with reading(tmp_path / "file", read_identities(identity.encode())) as entries:
        assert [name for name, _, _ in entries] == ["big"], "without its manifest, which a restore asks for"


@pytest.mark.parametrize("text", ["age1x", "ssh-ed25519 AAAA", "-----BEGIN CERTIFICATE-----", ""])
def test_what_is_no_recipient_is_named_by_its_place(text: str) -> None:
    _, recipient = new_identity()
    with pytest.raises(RecipientInvalidError) as caught:
        read_recipients([recipient, text])
    assert caught.value.fields[0].field == "recipients[1]"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../b", "", "a\\b"])
def test_nothing_is_put_outside_the_state(name: str) -> None:
    assert not is_of_a_state(name)


def test_what_is_sealed_to_the_machine_stays_out_and_exported_pins_go_in(tmp_path: Path) -> None:
    for name in (
        "seal.key",
        "instance.key",
        "lock",
        "pins/token-1/pins",
        "pins/exported/1.pin",
        "trust/a.pem",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [name for name, _ in files_to_keep(tmp_path, tmp_path / "backups")] == [
        "pins/exported/1.pin",
        "trust/a.pem",
    ]


def test_pins_are_sealed_anew_on_another_machine_and_open_there_only(tmp_path: Path) -> None:
    here, there = (
        Sealer(bytes([number]) * 32, bytes([number]) * 32, SecretKeeper.KEY_FILE) for number in (1, 2)
    )
    vault = PinVault(tmp_path / "here", here)
    pins = vault.create("cardd 1")
    vault.assign("cardd 1", TokenSerial("0123"))
    vault.create("unfinished")
    moved = PinVault(tmp_path / "there", there)
    moved.reseal(vault.unsealed())
    assert moved.read(TokenSerial("0123")).reveal() == pins.user.reveal()
    assert moved.pending() == ("unfinished",)
    with pytest.raises(SealBrokenError):
        PinVault(tmp_path / "there", here).read(TokenSerial("0123"))
    with pytest.raises(ValueError, match="place"):
        moved.reseal({"../pins": ("1", "2")})
