"""The APDU log keeps codes and deciphered data to itself."""

import logging

import pytest

from cardd.virtualcard.traffic import TRAFFIC, TrafficLog

LOGGER = logging.getLogger("test.traffic")


@pytest.mark.parametrize("ins", ["20", "24", "2C"])
@pytest.mark.parametrize("cla", ["00", "10", "0C"])
def test_codes_are_masked(ins: str, cla: str) -> None:
    shown = TrafficLog(LOGGER).shown(bytes.fromhex(f"{cla}{ins}0001 08 31323334FFFFFFFF"), b"\x63\xc2")
    assert shown.command == f"{cla} {ins} 00 01 ********"
    assert shown.answer == "SW=63C2 (VERIFY_FAILED 2)"


def test_deciphered_data_is_masked_also_when_it_is_fetched_later() -> None:
    log = TrafficLog(LOGGER)
    assert "SW=610B" in log.shown(bytes.fromhex("002A80860281AA"), b"\x61\x0b").answer
    assert (
        log.shown(bytes.fromhex("00C000000B"), b"secret" + b"\x61\x05").answer
        == "******** SW=6105 (MORE_DATA 5)"
    )
    assert "********" in log.shown(bytes.fromhex("00C0000005"), b"bytes" + b"\x90\x00").answer
    assert log.shown(bytes.fromhex("0084000002"), b"\x01\x02\x90\x00").answer == "01 02 SW=9000 (OK)"
    assert log.shown(bytes.fromhex("00C0000002"), b"\x01\x02\x90\x00").answer == "01 02 SW=9000 (OK)"


def test_exchanges_are_logged_below_debug(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(TRAFFIC, logger=LOGGER.name):
        TrafficLog(LOGGER).log(bytes.fromhex("00A4000C023F00"), b"\x90\x00")
        TrafficLog(LOGGER).log(bytes.fromhex("0020000100"), b"\x12\x34")
    assert [record.levelname for record in caplog.records] == ["TRAFFIC", "TRAFFIC"]
    assert TRAFFIC < logging.DEBUG
    assert caplog.messages == ["00 A4 00 0C 02 3F 00 -> SW=9000 (OK)", "00 20 00 01 00 -> SW=1234"]
