"""The calls as pyscard makes them, against a module in its place."""

import sys
from types import ModuleType
from typing import Any

import pytest

from cardd.readers.errors import PcscCode, PcscError
from cardd.readers.names import Context, ReaderName
from cardd.readers.pcsc import Connection, ReaderStatus, StateFlag, SystemPcsc, available

READER = ReaderName("Reader 00 00")
NO_SERVICE_AS_SIGNED = 0x8010001D - 0x1_0000_0000


class Scard(ModuleType):
    """`smartcard.scard` as far as it is called; every answer can be replaced."""

    INFINITE = 0x7FFFFFFF
    SCARD_SCOPE_SYSTEM = 2
    SCARD_SHARE_SHARED = 2
    SCARD_PROTOCOL_T0 = 1
    SCARD_PROTOCOL_T1 = 2
    SCARD_LEAVE_CARD = 0

    def __init__(self) -> None:
        super().__init__("smartcard.scard")
        self.calls: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("SCard"):
            raise AttributeError(name)

        def call(*arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            return self.answers.get(name, 0)

        return call


@pytest.fixture
def scard(monkeypatch: pytest.MonkeyPatch) -> Scard:
    module = Scard()
    monkeypatch.setitem(sys.modules, "smartcard", ModuleType("smartcard"))
    monkeypatch.setitem(sys.modules, "smartcard.scard", module)
    return module


def test_states_carry_their_counter_in_the_high_bits(scard: Scard) -> None:
    scard.answers["SCardGetStatusChange"] = (0, [(READER, 0x0007_0022, [0x3B, 0x00])])
    known = ReaderStatus(READER, StateFlag.EMPTY, 6)
    returned = SystemPcsc().wait_for_change(Context(1), [known], None)
    assert scard.calls == [("SCardGetStatusChange", 1, Scard.INFINITE, [(READER, 0x0006_0010)])]
    assert returned == [ReaderStatus(READER, StateFlag.PRESENT | StateFlag.CHANGED, 7, b"\x3b\x00")]


def test_a_timeout_is_given_in_milliseconds(scard: Scard) -> None:
    scard.answers["SCardGetStatusChange"] = (0x8010000A, [])
    with pytest.raises(PcscError) as error:
        SystemPcsc().wait_for_change(Context(1), [], 2.5)
    assert scard.calls[0][2] == 2500
    assert error.value.result == PcscCode.TIMEOUT


def test_no_reader_is_an_empty_list(scard: Scard) -> None:
    scard.answers["SCardListReaders"] = (0x8010002E, [])
    assert SystemPcsc().list_readers(Context(1)) == []


def test_a_code_told_as_a_negative_number_is_known_by_name(scard: Scard) -> None:
    scard.answers["SCardEstablishContext"] = (NO_SERVICE_AS_SIGNED, 0)
    with pytest.raises(PcscError, match=r"0x8010001D \(NO_SERVICE\)") as error:
        SystemPcsc().establish_context()
    assert error.value.result == PcscCode.NO_SERVICE


def test_an_unknown_code_is_told_in_figures(scard: Scard) -> None:
    scard.answers["SCardListReaders"] = (0x80100099, [])
    with pytest.raises(PcscError, match="0x80100099"):
        SystemPcsc().list_readers(Context(1))


def test_a_card_is_shared_and_left_as_it_is(scard: Scard) -> None:
    scard.answers["SCardConnect"] = (0, 77, 1)
    scard.answers["SCardTransmit"] = (0, [0x90, 0x00])
    api = SystemPcsc()
    connection = api.connect(Context(1), READER)
    api.begin_transaction(connection)
    assert api.transmit(connection, b"\x00\xa4\x00\x0c") == b"\x90\x00"
    api.end_transaction(connection)
    api.disconnect(connection)
    assert connection == Connection(77, 1)
    assert scard.calls == [
        ("SCardConnect", 1, READER, 2, 3),
        ("SCardBeginTransaction", 77),
        ("SCardTransmit", 77, 1, [0x00, 0xA4, 0x00, 0x0C]),
        ("SCardEndTransaction", 77, 0),
        ("SCardDisconnect", 77, 0),
    ]


def test_contexts_are_released_and_waits_cancelled(scard: Scard) -> None:
    scard.answers["SCardEstablishContext"] = (0, 5)
    api = SystemPcsc()
    context = api.establish_context()
    api.cancel(context)
    api.release_context(context)
    assert [call[:2] for call in scard.calls] == [
        ("SCardEstablishContext", 2),
        ("SCardCancel", 5),
        ("SCardReleaseContext", 5),
    ]


def test_pcsc_that_is_installed_is_available(scard: Scard) -> None:
    assert available()


def test_a_missing_library_is_told_in_both_languages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smartcard", ModuleType("smartcard"))
    monkeypatch.setitem(sys.modules, "smartcard.scard", None)
    found = available()
    assert not found
    assert "Install libpcsclite1" in found.sentence.en
    assert "Installez libpcsclite1" in found.sentence.fr
    with pytest.raises(ImportError):
        SystemPcsc()
