"""pcscd, vpcd and OpenSC take the virtual card for a real one."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding

from cardd.virtualcard import (
    SECOND_PORT,
    CardEvent,
    ConnectionLost,
    Interface,
    KeyRole,
    MemoryStateStore,
    MuteAtPowerOn,
    VirtualCard,
    When,
)
from cardd.virtualcard.errors import VirtualReaderUnavailableError
from cardd.virtualcard.wire import Ins
from tests.integration.virtualcard.conftest import Tools
from tests.support.virtualcard import CHEAP, content, private_key

SHA256_PREFIX = bytes.fromhex("3031300D060960864801650304020105000420")
AUTHENTICATION_KEY = "e828bd080f8025000001ff001002"
SIGNATURE_KEY = "e828bd080f8025000001ff001001"
"""CKA_ID: pkcs11-tool passes over a key's label and would take the first key."""
MESSAGE = b"Ordonnance no 42"


def make(tools: Tools, **options: object) -> VirtualCard:
    settings: dict[str, object] = {"connector": tools.pcscd.connector(), "code_cost": CHEAP, **options}
    card_content = settings.pop("content", None) or content()
    return VirtualCard(card_content, MemoryStateStore(), **settings)  # type: ignore[arg-type]


@pytest.fixture
async def card(tools: Tools) -> AsyncIterator[VirtualCard]:
    async with make(tools) as inserted:
        await tools.wait_for_card()
        yield inserted


async def token_flags(tools: Tools) -> str:
    outcome = await tools.pkcs11("--list-token-slots")
    return next(line for line in outcome.output.splitlines() if "token flags" in line)


async def log_in(tools: Tools, pin: str) -> int:
    return (await tools.pkcs11("--login", "--pin", pin, "--list-objects")).status


async def sign(tools: Tools, pin: str = "1234") -> bytes:
    to_sign, signature = tools.home / "digest-info", tools.home / "signature"
    to_sign.write_bytes(SHA256_PREFIX + hashlib.sha256(MESSAGE).digest())
    outcome = await tools.pkcs11(
        *("--login", "--pin", pin, "--sign", "--mechanism", "RSA-PKCS"),
        *("--id", AUTHENTICATION_KEY),
        *("--input-file", str(to_sign), "--output-file", str(signature)),
    )
    assert outcome.status == 0, outcome.output
    return signature.read_bytes()


async def test_opensc_knows_the_card_as_ias_ecc(tools: Tools, card: VirtualCard) -> None:
    assert card.is_connected
    assert "IAS-ECC" in (await tools.run("opensc-tool", "-n")).output


async def test_pkcs15_tool_lists_both_certificates_and_both_keys(tools: Tools, card: VirtualCard) -> None:
    dump = (await tools.run("pkcs15-tool", "-D")).output
    for name in (
        "Private RSA Key [CPS_PRIV_AUT]",
        "Private RSA Key [CPS_PRIV_SIG]",
        "X.509 Certificate [Certificat d'Authentification CPS]",
        "X.509 Certificate [Certificat de Signature CPS]",
        "PIN [Code porteur de la carte CPX]",
        "Data object 'CPS_DATA'",
        "Data object 'CPS_ACTIVITY_03_PS'",
    ):
        assert name in dump


async def test_the_token_bears_the_serial_of_the_card(tools: Tools, card: VirtualCard) -> None:
    slots = (await tools.pkcs11("--list-token-slots")).output
    assert "serial num         : 000001280063626f" in slots
    assert "token label        : Code porteur de la carte CPX" in slots


async def test_private_keys_and_private_data_appear_with_the_login(tools: Tools, card: VirtualCard) -> None:
    before = (await tools.pkcs11("--list-objects")).output
    after = (await tools.pkcs11("--login", "--pin", "1234", "--list-objects")).output
    for name in (
        "label:      CPS_PRIV_AUT",
        "label:      CPS_PRIV_SIG",
        "CPS_ACTIVITY_01_PS",
        "CPS_SIT_FACT",
    ):
        assert name not in before
        assert name in after
    assert "CPS_NAME_PS" in before


async def test_a_signature_of_the_authentication_key_verifies_with_openssl(
    tools: Tools, card: VirtualCard
) -> None:
    await sign(tools)
    public_key = private_key(KeyRole.AUTHENTICATION).public_key()
    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    (tools.home / "key.pem").write_bytes(public_key.public_bytes(*form))
    (tools.home / "message").write_bytes(MESSAGE)
    verified = await tools.run(
        *("openssl", "dgst", "-sha256", "-verify", str(tools.home / "key.pem")),
        *("-signature", str(tools.home / "signature"), str(tools.home / "message")),
    )
    assert verified.output.strip() == "Verified OK"


async def test_opensc_refuses_the_signature_key(tools: Tools, card: VirtualCard) -> None:
    (tools.home / "message").write_bytes(SHA256_PREFIX + hashlib.sha256(MESSAGE).digest())
    answers = {"RSA-PKCS": "CKR_MECHANISM_INVALID", "SHA256-RSA-PKCS": "CKR_FUNCTION_NOT_SUPPORTED"}
    for mechanism, answer in answers.items():
        refused = await tools.pkcs11(
            *("--login", "--pin", "1234", "--sign", "--mechanism", mechanism),
            *("--id", SIGNATURE_KEY, "--input-file", str(tools.home / "message")),
        )
        assert refused.status != 0
        assert answer in refused.output


async def test_wrong_pins_walk_to_the_lock(tools: Tools, card: VirtualCard) -> None:
    expected = ("user PIN count low", "final user PIN try", "user PIN locked")
    for flag in expected:
        assert flag not in await token_flags(tools)
        assert await log_in(tools, "0000") != 0
        assert flag in await token_flags(tools)
    locked = await tools.pkcs11("--login", "--pin", "1234", "--list-objects")
    assert "CKR_PIN_LOCKED" in locked.output


async def test_the_right_pin_restores_the_tries(tools: Tools, card: VirtualCard) -> None:
    assert await log_in(tools, "0000") != 0
    assert await log_in(tools, "1234") == 0
    assert "count low" not in await token_flags(tools)


async def test_the_pin_is_changed(tools: Tools, card: VirtualCard) -> None:
    changed = await tools.pkcs11("--login", "--pin", "1234", "--change-pin", "--new-pin", "987654")
    assert changed.status == 0, changed.output
    assert await log_in(tools, "1234") != 0
    assert await log_in(tools, "987654") == 0


async def test_the_puk_unblocks_a_locked_pin(tools: Tools, card: VirtualCard) -> None:
    for _ in range(3):
        await log_in(tools, "0000")
    unblocked = await tools.run("pkcs15-tool", "--unblock-pin", "--puk", "12345678", "--new-pin", "4321")
    assert unblocked.status == 0, unblocked.output
    assert await log_in(tools, "4321") == 0


async def test_the_authentication_key_decrypts(tools: Tools, card: VirtualCard) -> None:
    cryptogram, plaintext = tools.home / "cryptogram", tools.home / "plaintext"
    public_key = private_key(KeyRole.AUTHENTICATION).public_key()
    cryptogram.write_bytes(public_key.encrypt(b"a session key", padding.PKCS1v15()))
    decrypted = await tools.pkcs11(
        *("--login", "--pin", "1234", "--decrypt", "--mechanism", "RSA-PKCS"),
        *("--id", AUTHENTICATION_KEY),
        *("--input-file", str(cryptogram), "--output-file", str(plaintext)),
    )
    assert decrypted.status == 0, decrypted.output
    assert plaintext.read_bytes() == b"a session key"


async def test_a_contactless_card_shows_its_technical_key_to_a_configured_opensc(tools: Tools) -> None:
    tools.configuration = tools.home / "opensc.conf"
    atr = "3B:8F:80:01:00:31:B8:64:04:B0:EC:C1:73:94:01:80:82:90:00:0E"
    tools.configuration.write_text(
        f'app default {{ card_atr {atr} {{ driver = "iasecc"; type = 25008; }} }}\n'
    )
    async with make(tools, content=content(interface=Interface.CONTACTLESS)):
        await tools.wait_for_card()
        dump = (await tools.run("pkcs15-tool", "-D")).output
    assert "Private RSA Key [CPS_PRIV_TECH_AUT]" in dump
    assert "X.509 Certificate [Certificat Technique CPS]" in dump
    assert "CPS_PRIV_SIG" not in dump


async def test_two_readers_hold_two_cards_and_a_swap_shows_the_other(tools: Tools) -> None:
    first = make(tools)
    third = make(tools, content=content(serial="28006364"))
    second = make(tools, content=content(serial="28006363"), connector=tools.pcscd.connector(SECOND_PORT))
    async with first, second:
        await tools.wait_for_card()
        await tools.until("28006363", "pkcs15-tool", "--dump", "--reader", "1")
        slots = (await tools.pkcs11("--list-token-slots")).output
        assert "28006362" in slots
        assert "28006363" in slots
        await first.swap(third)
        await tools.until("28006364", "pkcs15-tool", "--dump")
        slots = (await tools.pkcs11("--list-token-slots")).output
        await third.remove()
    assert "28006364" in slots
    assert "28006362" not in slots


async def test_a_mute_card_is_present_and_cannot_be_used(tools: Tools) -> None:
    async with make(tools, faults=[MuteAtPowerOn()]):
        await tools.until("nresponsive", "opensc-tool", "-n", "--reader", "0")
        assert (await tools.run("pkcs15-tool", "--dump")).status != 0


async def test_a_card_pulled_inside_a_signature_gives_an_error_not_a_hang(tools: Tools) -> None:
    events: list[CardEvent] = []
    fault = ConnectionLost(When(ins=Ins.INTERNAL_AUTHENTICATE))
    card = make(tools, faults=[fault], observer=events.append)
    async with card:
        await tools.wait_for_card()
        with pytest.raises(AssertionError, match="CKR_"):
            await sign(tools)
        card.set_faults([])
        await card.insert()
        await tools.wait_for_card()
        assert len(await sign(tools)) == 256
    assert events == [CardEvent.INSERTED, CardEvent.REMOVED] * 2


async def test_the_card_enters_again_after_pcscd_was_killed_and_started(tools: Tools) -> None:
    events: list[CardEvent] = []
    async with make(tools, observer=events.append):
        await tools.wait_for_card()
        for _ in range(2):
            await tools.pcscd.restart()
            await tools.wait_for_card()
            assert "IAS-ECC" in (await tools.run("opensc-tool", "-n")).output
    again = [CardEvent.READER_GONE, CardEvent.INSERTED]
    assert events == [CardEvent.INSERTED, *again, *again, CardEvent.REMOVED]


async def test_without_pcscd_insertion_says_so(tools: Tools) -> None:
    await tools.pcscd.kill()
    with pytest.raises(VirtualReaderUnavailableError):
        await make(tools).insert()


async def test_nobody_outside_reaches_the_confined_readers(tools: Tools, card: VirtualCard) -> None:
    directory: Path = tools.pcscd.socket_path.parent.parent
    assert directory.stat().st_mode & 0o077 == 0
    process = tools.pcscd._process
    assert process is not None
    ours, theirs = (Path(f"/proc/{name}/ns/net").readlink() for name in ("self", process.pid))
    assert ours != theirs
    inside, outside = (listening_on(SECOND_PORT, name) for name in (process.pid, "self"))
    assert inside
    assert not inside & outside


def listening_on(port: int, process: int | str) -> set[str]:
    """Return the inodes of the sockets that listen on a port, as a process sees them."""
    rows = [line.split() for line in Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}
