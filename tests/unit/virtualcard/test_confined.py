"""A private pcscd that cannot be had is refused with its reason."""

from pathlib import Path

import pytest

from cardd.text import Text
from cardd.virtualcard import ConfinedPcscd
from cardd.virtualcard.errors import ConfinementUnavailableError, VirtualReaderUnavailableError


async def test_a_missing_part_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = Text("the program pcscd is missing", "le programme pcscd est absent")
    monkeypatch.setattr(ConfinedPcscd, "missing_part", staticmethod(lambda: missing))
    with pytest.raises(ConfinementUnavailableError) as caught:
        await ConfinedPcscd(tmp_path).start()
    assert "pcscd is missing" in caught.value.detail.en
    assert "pcscd est absent" in caught.value.detail.fr


async def test_a_path_too_long_for_a_socket_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ConfinedPcscd, "missing_part", staticmethod(lambda: None))
    with pytest.raises(ConfinementUnavailableError) as caught:
        await ConfinedPcscd(tmp_path / ("x" * 120)).start()
    assert "too long" in caught.value.detail.en


async def test_what_was_not_started_has_no_reader_and_stops_quietly(tmp_path: Path) -> None:
    pcscd = ConfinedPcscd(tmp_path)
    with pytest.raises(ConfinementUnavailableError):
        await pcscd.kill()
    with pytest.raises(VirtualReaderUnavailableError):
        await pcscd.connector()()
    await pcscd.stop()


def test_clients_are_told_the_socket_by_libpcsclites_own_variable(tmp_path: Path) -> None:
    pcscd = ConfinedPcscd(tmp_path)
    assert pcscd.environment == {"PCSCLITE_CSOCK_NAME": str(tmp_path / "run" / "pcscd.comm")}
