"""Faults that the card itself plays, and their counting."""

import msgspec
import pytest
from cryptography import x509

from cardd.virtualcard import (
    ConnectionLost,
    CorruptedCertificate,
    Fault,
    KeyRole,
    MuteAtPowerOn,
    Slow,
    When,
    WrongStatus,
)
from cardd.virtualcard.faults import FaultPlan
from cardd.virtualcard.wire import CodeReference, Ins
from tests.support.virtualcard import certificate, terminal


def test_a_wrong_status_replaces_the_command() -> None:
    card = terminal(WrongStatus(0x6F00, When(ins=Ins.VERIFY, p1p2=0x0001)))
    assert card.send("0020000108 30303030FFFFFFFF") == "6F00"
    assert card.card.codes.status(CodeReference.PIN) == 0x63C3
    assert card.send("0084000001")[-4:] == "9000"


def test_a_fault_strikes_after_its_skips_and_only_so_often() -> None:
    plan = FaultPlan([Slow(1.0, When(ins=Ins.GET_CHALLENGE, skip=1, times=2))])
    struck = [plan.strike(Slow, bytes.fromhex("0084000008")) is not None for _ in range(5)]
    assert struck == [False, True, True, False, False]


def test_a_fault_of_another_instruction_or_kind_does_not_strike() -> None:
    plan = FaultPlan([Slow(1.0, When(ins=Ins.VERIFY)), MuteAtPowerOn()])
    assert plan.strike(Slow, bytes.fromhex("0084000008")) is None
    assert plan.strike(Slow, b"") is None
    assert plan.strike(ConnectionLost, bytes.fromhex("00200001")) is None


def test_a_corrupted_certificate_is_read_but_not_decoded() -> None:
    card = terminal(CorruptedCertificate(KeyRole.AUTHENTICATION))
    card.fetch("00A40904063F000001A002")
    read = card.send("00B0000000")
    assert read[-4:] == "9000"
    with pytest.raises(ValueError, match=r"(?i)asn"):
        x509.load_der_x509_certificate(bytes.fromhex(read)[:-2])
    card.fetch("00A40904063F000001A001")
    assert bytes.fromhex(card.send("00B0000000"))[:-2] == certificate(KeyRole.SIGNATURE)[:256]


@pytest.mark.parametrize(
    "fault", [Slow(0.5, When(ins=0x20)), CorruptedCertificate(KeyRole.SIGNATURE), MuteAtPowerOn()]
)
def test_faults_are_plain_data(fault: Fault) -> None:
    assert msgspec.json.decode(msgspec.json.encode(fault), type=Fault) == fault
