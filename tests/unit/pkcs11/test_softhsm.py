"""SoftHSM's configuration."""

from pathlib import Path

import pytest

from cardd_pkcs11.errors import TokenError
from cardd_pkcs11.softhsm import write_softhsm_config


def test_the_state_is_for_its_owner_only(tmp_path: Path) -> None:
    configuration = write_softhsm_config(tmp_path)
    assert configuration == tmp_path / "softhsm" / "softhsm2.conf"
    assert configuration.stat().st_mode & 0o777 == 0o600
    for directory in (tmp_path / "softhsm", tmp_path / "softhsm" / "tokens"):
        assert directory.stat().st_mode & 0o777 == 0o700
    assert f"directories.tokendir = {tmp_path}/softhsm/tokens\n" in configuration.read_text()


def test_the_file_is_left_alone_when_nothing_changed(tmp_path: Path) -> None:
    first = write_softhsm_config(tmp_path).stat()
    second = write_softhsm_config(tmp_path).stat()
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


def test_a_changed_file_is_written_again(tmp_path: Path) -> None:
    configuration = write_softhsm_config(tmp_path)
    wanted = configuration.read_bytes()
    configuration.write_text("log.level = DEBUG\n")
    assert write_softhsm_config(tmp_path).read_bytes() == wanted
    assert [path.name for path in configuration.parent.iterdir() if path.is_file()] == ["softhsm2.conf"]


@pytest.mark.parametrize(
    "name", ["a#b", "a=b", "a\nb", "x" * 250 + "/" + "y" * 250 + "/" + "z" * 250 + "/" + "w" * 250]
)
def test_a_path_that_softhsm_cannot_read_back_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(TokenError, match="SoftHSM cannot use"):
        write_softhsm_config(tmp_path / name)
