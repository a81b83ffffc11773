"""Which pcscd is watched: the settings, the readers that are plugged in, and what can run here decide."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cardd import cardreaders
from cardd.cardreaders import Watched, card_readers, no_card_readers
from cardd.clock import SystemClock
from cardd.readers import Availability, available
from cardd.settings import ReaderSettings, Settings
from cardd.text import Text
from cardd.virtualcard import VirtualReaders
from cardd.virtualcard.errors import ConfinementUnavailableError

SOCKET = {"PCSCLITE_CSOCK_NAME": "/somewhere/pcscd.comm"}


class _Machine:
    """What is found on the machine; a fake in the place of processes and sockets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.readers: tuple[str, ...] = ()
        self.refusal: ConfinementUnavailableError | None = None
        self.started = 0
        monkeypatch.setenv("PCSCLITE_CSOCK_NAME", "")
        monkeypatch.delenv("PCSCLITE_CSOCK_NAME")
        monkeypatch.setattr(cardreaders, "machine_readers", self.machine_readers)
        monkeypatch.setattr(VirtualReaders, "start", lambda _: self.start())

    async def machine_readers(self) -> tuple[str, ...]:
        return self.readers

    async def start(self) -> Mapping[str, str]:
        await asyncio.sleep(0)
        if self.refusal is not None:
            raise self.refusal
        self.started += 1
        return SOCKET


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> _Machine:
    if not available():
        pytest.skip("pyscard is not installed")
    return _Machine(monkeypatch)


def _settings(state: Path, **readers: Any) -> Settings:
    return Settings(state_dir=str(state), runtime_dir=str(state / "run"), readers=ReaderSettings(**readers))


async def _watched(settings: Settings) -> Watched:
    async with card_readers(settings, SystemClock()) as found:
        assert found.sentence.en.endswith(".")
        assert found.sentence.fr.endswith(".")
        assert (found.virtual_unavailable is None) == (found.watched is Watched.VIRTUAL)
        assert (found.readers is None) == (found.watched is Watched.NONE)
        return found.watched


async def test_virtual_readers_run_where_no_real_one_is_plugged_in(machine: _Machine, tmp_path: Path) -> None:
    machine.readers = ("Virtual PCD 00 00",)
    assert await _watched(_settings(tmp_path)) is Watched.VIRTUAL
    assert (tmp_path / "run" / "pcsc.env").read_text() == "PCSCLITE_CSOCK_NAME=/somewhere/pcscd.comm\n"


async def test_real_readers_are_watched_unless_virtual_ones_are_asked_for(
    machine: _Machine, tmp_path: Path
) -> None:
    machine.readers = ("Virtual PCD 00 00", "Gemalto PC Twin Reader 00 00")
    assert await _watched(_settings(tmp_path)) is Watched.MACHINE
    assert machine.started == 0
    assert await _watched(_settings(tmp_path, virtual="on")) is Watched.VIRTUAL


async def test_a_pcscd_named_by_the_environment_is_watched(
    machine: _Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PCSCLITE_CSOCK_NAME", "/elsewhere")
    async with card_readers(_settings(tmp_path), SystemClock()) as found:
        assert found.watched is Watched.MACHINE
        assert found.environment == {"PCSCLITE_CSOCK_NAME": "/elsewhere"}


async def test_readers_can_be_switched_off(machine: _Machine, tmp_path: Path) -> None:
    assert await _watched(_settings(tmp_path, virtual="off")) is Watched.MACHINE
    assert await _watched(_settings(tmp_path, pcsc="off", virtual="on")) is Watched.NONE
    assert machine.started == 0


async def test_where_nothing_can_be_confined_one_sentence_says_so(machine: _Machine, tmp_path: Path) -> None:
    machine.refusal = ConfinementUnavailableError(Text("No namespaces.", "Pas d’espaces de noms."))
    async with card_readers(_settings(tmp_path), SystemClock()) as found:
        assert found.watched is Watched.MACHINE
        assert found.virtual_unavailable is not None
        assert found.virtual_unavailable.en == (
            "No namespaces. Test cards are SoftHSM's, and the machine's own readers are watched."
        )


async def test_without_pyscard_no_reader_is_watched(
    machine: _Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Availability(usable=False, sentence=Text("It is missing.", "Il manque."))
    monkeypatch.setattr(cardreaders, "available", lambda: missing)
    assert await _watched(_settings(tmp_path)) is Watched.NONE


async def test_a_state_that_is_being_prepared_watches_nothing(tmp_path: Path) -> None:
    assert no_card_readers(_settings(tmp_path), SystemClock()).watched is Watched.NONE
    assert list(tmp_path.iterdir()) == []
