"""The card's files, its T=0 manners and its secure objects, byte for byte."""

import pytest

from cardd.virtualcard import Generation, Interface, KeyRole
from tests.support.virtualcard import Terminal, certificate, content, private_key, terminal

CONTACT = "E828BD080F8025000001FF0010"
ROOT = "8025000001FF0100"


@pytest.fixture
def card() -> Terminal:
    return terminal()


def test_opensc_connects_as_to_a_real_card(card: Terminal) -> None:
    assert card.send("00A4090404 3F002F01") == "6127"
    assert len(card.fetch("00A4090404 3F002F01")) == 0x27
    assert card.send("00B00000 39").startswith("804301B8460404B0ECC1470394018")
    assert card.send("00A4040408" + ROOT).startswith("61")
    assert card.send("00B09C00C0") == "6C0C"
    assert card.send("00B09C000C") == "5A0A80250000012800636" + "26F" + "9000"


def test_the_serial_file_has_the_parameters_of_a_real_one(card: Terminal) -> None:
    assert card.fetch("00A4090404 3F00D003").hex().upper() == (
        "62258002000C8201018302D0038801E0A1128C077BFFFFFFFFFF009C077BFFFFFFFFFF008A0105"
    )


def test_the_atr_file_has_its_57_bytes(card: Terminal) -> None:
    assert card.send("00B09D0000") == "6C39"
    assert card.send("00B09D0039") == (
        "804301B8460404B0ECC1470394018"
        "04F088025000001FF0100E010020201040202010402020100020201007808" + "06062B8122F87802820290009000"
    )


def test_the_directory_names_the_application_by_aid_and_by_path(card: Terminal) -> None:
    card.fetch("00A4090404 3F002F00")
    size = int(card.send("00B0000000")[2:], 16)
    directory = card.send(f"00B00000{size:02X}")
    assert f"4F0D{CONTACT}5003" in directory
    assert f"51043F000001730F4F0D{CONTACT}" in directory


@pytest.mark.parametrize("fid", ["5031", "5032", "7001", "7002", "7005", "7006", "A001", "A002"])
def test_opensc_binds_to_the_contact_application(card: Terminal, fid: str) -> None:
    card.fetch("00A404040D" + CONTACT)
    assert card.fetch("00A4020402" + fid)[0] == 0x62
    assert card.send("00B00000FF")[-4:] == "9000" or card.send("00B00000FF").startswith("6C")


def test_no_actua_file_and_no_unknown_file(card: Terminal) -> None:
    assert card.send("00A4090404 3F00D010") == "6A82"
    assert card.send("00A4040404 A0000000") == "6A82"
    assert card.send("00A4020402 1234") == "6A82"


def test_a_silent_select_answers_nothing(card: Terminal) -> None:
    assert card.send("00A4000C023F00") == "9000"
    assert card.send("00A40904 04 3F000001") == "612F"
    assert card.send("00A4090C04 3F000001") == "9000"
    assert card.send("00A4080C04 0001 5031") == "9000"


def test_opensc_finds_the_master_file_from_anywhere(card: Terminal) -> None:
    card.fetch("00A404040D" + CONTACT)
    assert card.fetch("00A40204023F00")[:2] == b"\x62\x28"


def test_a_certificate_is_read_in_pieces_up_to_its_end(card: Terminal) -> None:
    card.fetch("00A404040D" + CONTACT)
    card.fetch("00A4020402A002")
    der = certificate(KeyRole.AUTHENTICATION)
    read = b""
    while len(read) < len(der):
        answer = card.card.transmit(bytes.fromhex(f"00B0{len(read):04X}00"))
        if answer[0] == 0x6C and len(answer) == 2:
            answer = card.card.transmit(bytes.fromhex(f"00B0{len(read):04X}{answer[1]:02X}"))
        read += answer[:-2]
    assert read == der
    assert card.send(f"00B0{len(der):04X}10") == "6B00"


def test_answers_wait_for_get_response_and_only_for_the_next_command(card: Terminal) -> None:
    assert card.send("00A404040D" + CONTACT) == "612F"
    assert card.send("00C0000030") == "6C2F"
    assert card.send("00C0000010")[-4:] == "611F"
    assert card.send("00C000001F")[-4:] == "9000"
    assert card.send("00C0000001") == "6985"
    card.send("00A404040D" + CONTACT)
    card.send("0084000008")
    assert card.send("00C000002F") == "6985"


def test_a_command_with_its_le_is_answered_at_once(card: Terminal) -> None:
    assert card.send("00A404040D" + CONTACT + "00").startswith("622D")


def test_the_pin_object_is_that_of_a_real_card_and_counts_live(card: Terminal) -> None:
    request = "00CB3FFF0A 4D08 7006 BF8101 02 A080"
    assert card.fetch(request).hex().upper() == "7016BF810112A0109A01039B0103A1088C06F3000013FF00"
    card.send("00200001 08 30303030FFFFFFFF")
    assert card.fetch(request).hex().upper() == "7016BF810112A0109A01039B0102A1088C06F3000013FF00"
    assert card.fetch("00CB3FFF0B 4D09 7007 BF8101 03 7F4180").hex().upper().endswith("7F4106800108810104")


def test_the_authentication_key_object_is_that_of_a_real_card(card: Terminal) -> None:
    assert card.send("00CB3FFF0B 4D09 7007 BF9002 03 7F4880") == "6A80"
    assert card.fetch("00CB3FFF0A 4D08 7006 BF9002 02 A080").hex().upper() == (
        "7016BF900212A01080020100A1078C05B31111FF009E0100"
    )


def test_the_public_key_object_holds_modulus_and_exponent(card: Terminal) -> None:
    shown = card.fetch("00CB3FFF0B 4D09 7007 BFA002 03 7F4980")
    numbers = private_key(KeyRole.AUTHENTICATION).public_key().public_numbers()
    assert numbers.n.to_bytes(256, "big") in shown
    assert shown.endswith(bytes.fromhex("8203010001"))


def test_the_security_environments_name_pin_and_puk(card: Terminal) -> None:
    first = card.fetch("00CB3FFF0A 4D08 7006 BFFB01 02 7B80").hex().upper()
    third = card.fetch("00CB3FFF0A 4D08 7006 BFFB03 02 7B80").hex().upper()
    assert first.endswith("7B08A406950108830101")
    assert third.endswith("7B08A406950108830102")


@pytest.mark.parametrize(
    ("request_data", "status"),
    [
        ("4D08 7006 BF8109 02 A080", "6A88"),
        ("4D08 7006 BF9009 02 A080", "6A88"),
        ("4D00", "6A80"),
        ("4D02 7000", "6A80"),
        ("3000", "6A80"),
        ("4D06 7004 BF8101 00", "6A80"),
        ("4D07 7005 BF8101 01 A0", "6A80"),
    ],
)
def test_an_unknown_or_malformed_object_request_is_refused(
    card: Terminal, request_data: str, status: str
) -> None:
    data = bytes.fromhex(request_data)
    assert card.send(f"00CB3FFF{len(data):02X}{data.hex()}") == status


@pytest.mark.parametrize(
    ("command", "status"),
    [
        ("", "6700"),
        ("00A4", "6700"),
        ("00A4040405AABB", "6700"),
        ("80A4000C023F00", "6E00"),
        ("0CA4000C023F00", "6882"),
        ("01A4000C023F00", "6881"),
        ("00FF0000", "6D00"),
        ("00A4070C023F00", "6A86"),
        ("00A4000C033F0000", "6A80"),
        ("00B0000010", "6986"),
        ("00B08A0010", "6A82"),
        ("00CA9F7F00", "6A88"),
        ("00CB000000", "6A86"),
        ("002200A400", "6A86"),
        ("002241A600", "6A86"),
        ("002A000000", "6A86"),
        ("0084010008", "6A86"),
        ("0088010000", "6A86"),
        ("00200101", "6A86"),
        ("00200003", "6A88"),
        ("00C0000000", "6985"),
    ],
)
def test_what_the_card_does_not_do_is_said_with_the_standard_word(
    card: Terminal, command: str, status: str
) -> None:
    assert card.send(command) == status


def test_a_challenge_has_the_length_asked_for(card: Terminal) -> None:
    first, second = card.send("0084000008"), card.send("0084000008")
    assert len(first) == 2 * 10
    assert first != second


def test_data_objects_behind_the_pin_are_readable_after_login_only(card: Terminal) -> None:
    card.fetch("00A404040D" + CONTACT)
    card.fetch("00A4020402B011")
    assert card.send("00B0000004") == "6982"
    card.login()
    assert card.send("00B0000002") == "800A9000"
    assert card.send("00A4020402B012") == "6A82", "activities keep their gaps"


def test_only_cps_data_may_be_written_and_only_after_login(card: Terminal) -> None:
    card.fetch("00A404040D" + CONTACT)
    card.fetch("00A4020402B001")
    assert card.send("00D6000003616263") == "6982"
    card.login()
    assert card.send("00D6000003616263") == "9000"
    assert card.send("00B0000005") == "6162637374" + "9000"
    assert card.send("00D601FF020000") == "6B00"
    card.fetch("00A4020402A001")
    assert card.send("00D6000003616263") == "6982"


def test_contactless_has_its_application_its_key_and_no_get_response() -> None:
    card = terminal(card_content=content(interface=Interface.CONTACTLESS))
    assert card.card.atr.hex().upper() == "3B8F80010031B86404B0ECC1739401808290000E"
    assert card.send("00B09C0000") == "5A0A802500000128006362" + "6F" + "9000", "all there is, without 6Cxx"
    assert card.send("00A404040DE828BD080F8025000001FF002000").endswith("9000")
    assert card.send("00A404040D" + CONTACT + "00") == "6A82"
    assert card.send("002241A406840183800102") == "9000"
    assert len(card.send("0088000003AABBCC00")) == 2 * 258


@pytest.mark.parametrize(
    ("generation", "atr"),
    [
        (Generation.CPS2TER, "3BAC00402A001225006480820212009000"),
        (Generation.CPS3, "3BAC00402A001225006480000310009000"),
        (Generation.CPS4, "3B9B188001001225006480040100009044"),
    ],
)
def test_each_generation_has_its_answer_to_reset(generation: Generation, atr: str) -> None:
    card = terminal(card_content=content(generation=generation))
    assert card.card.atr.hex().upper() == atr
    assert (card.send("00A4000C023F00") == "9000") is (generation is Generation.CPS3)
