"""Signing and deciphering with the sequences that OpenSC and Cryptolib send."""

import hashlib

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from cardd.virtualcard import KeyRole
from cardd.virtualcard.hashing import CardHash
from tests.support.virtualcard import Terminal, private_key, terminal

SHA256_PREFIX = "3031300D060960864801650304020105000420"
MESSAGE = b"Ordonnance no 42. " * 20
STATES = {
    CardHash.SHA1: bytes.fromhex("67452301EFCDAB8998BADCFE10325476C3D2E1F0"),
    CardHash.SHA256: bytes.fromhex("6A09E667BB67AE853C6EF372A54FF53A510E527F9B05688C1F83D9AB5BE0CD19"),
}
LIBRARY = {CardHash.SHA1: hashes.SHA1(), CardHash.SHA256: hashes.SHA256()}  # noqa: S303 - what the card offers
HASH_BYTE = {CardHash.SHA1: "10", CardHash.SHA256: "40"}
SIGN_BYTE = {CardHash.SHA1: "12", CardHash.SHA256: "42"}


@pytest.fixture
def card() -> Terminal:
    logged_in = terminal()
    logged_in.fetch("00A404040DE828BD080F8025000001FF0010")
    logged_in.login()
    return logged_in


def verify(role: KeyRole, signature: bytes, digest: bytes, algorithm: hashes.HashAlgorithm) -> None:
    private_key(role).public_key().verify(signature, digest, padding.PKCS1v15(), Prehashed(algorithm))


def with_length(header: str, data: bytes) -> str:
    return f"{header}{len(data):02X}{data.hex()}"


@pytest.mark.parametrize("objects", ["840182800102", "800102840182", "800102950140840182", "830182800102"])
def test_the_authentication_key_signs_a_digest_info_whatever_the_order_of_objects(
    card: Terminal, objects: str
) -> None:
    digest = hashlib.sha256(MESSAGE).digest()
    assert card.send(with_length("002241A4", bytes.fromhex(objects))) == "9000"
    assert card.send("0088000033" + SHA256_PREFIX + digest.hex()) == "6100"
    signature = card.send("00C0000000")
    assert signature[-4:] == "9000"
    verify(KeyRole.AUTHENTICATION, bytes.fromhex(signature[:-4]), digest, hashes.SHA256())


def test_selecting_the_root_logs_out(card: Terminal) -> None:
    card.fetch("00A40404088025000001FF0100")
    assert card.send("0020000100") == "63C3"
    assert card.send("002241A406840182800102") == "9000"
    assert card.send("0088000003AABBCC") == "6982"


def test_a_reset_logs_out(card: Terminal) -> None:
    assert card.send("0020000100") == "9000"
    card.card.reset()
    assert card.send("00200001") == "63C3"


def test_selecting_the_application_again_keeps_the_login(card: Terminal) -> None:
    card.fetch("00A404040DE828BD080F8025000001FF0010")
    card.fetch("00A40904043F000001")
    assert card.send("0020000100") == "9000"


def test_an_operation_without_its_key_set_is_refused(card: Terminal) -> None:
    assert card.send("0088000003AABBCC") == "6985"
    assert card.send("002A9E9A00") == "6985"
    assert card.send("002A80860181") == "6985"
    assert card.send("002A90A0059000800161") == "6985"


def test_each_key_does_its_own_work_only(card: Terminal) -> None:
    assert card.send("002241A406840181800102") == "9000"
    assert card.send("0088000003AABBCC") == "6985"
    assert card.send("002241B60684018280 0142") == "9000"
    assert card.send("002A9E9A20" + "00" * 32) == "6985"
    assert card.send("002241B806840181 80011A") == "9000"
    assert card.send("002A80860181") == "6985"
    assert card.send("002241A403840199") == "6A88"
    assert card.send("002241A4028401") == "6A80"
    assert card.send("002241A406840182800112") == "9000"
    assert card.send("0088000003AABBCC") == "6985"
    assert card.send("0022F30100") == "9000"
    assert card.send("0088000003AABBCC") == "6985"


@pytest.mark.parametrize("length", [0, 246])
def test_an_impossible_digest_info_is_refused(card: Terminal, length: int) -> None:
    card.send("002241A406840182800102")
    assert card.send(with_length("00880000", bytes(length)) if length else "00880000") == "6A80"


def test_the_authentication_key_deciphers_a_chained_cryptogram(card: Terminal) -> None:
    public_key = private_key(KeyRole.AUTHENTICATION).public_key()
    cryptogram = b"\x81" + public_key.encrypt(b"a session key", padding.PKCS1v15())
    assert card.send("002241B80684018280011A") == "9000"
    assert card.send("102A8086FF" + cryptogram[:255].hex()) == "9000"
    assert card.fetch(with_length("002A8086", cryptogram[255:])) == b"a session key"


def test_a_broken_chain_is_forgotten(card: Terminal) -> None:
    public_key = private_key(KeyRole.AUTHENTICATION).public_key()
    cryptogram = b"\x81" + public_key.encrypt(b"a session key", padding.PKCS1v15())
    card.send("002241B80684018280011A")
    card.send("102A8086FF" + cryptogram[:255].hex())
    card.send("0084000008")
    assert card.send(with_length("002A8086", cryptogram[255:])) == "6A80"


def test_an_endless_chain_is_cut(card: Terminal) -> None:
    answers = [card.send("102A8086FF" + "00" * 255) for _ in range(17)]
    assert answers[0] == "9000"
    assert answers[-1] == "6700"


@pytest.mark.parametrize("card_hash", list(CardHash))
@pytest.mark.parametrize("length", [65, 100, 128, 360])
def test_the_signature_key_signs_with_the_last_block_hashed_on_the_card(
    card: Terminal, card_hash: CardHash, length: int
) -> None:
    message = MESSAGE[:length]
    before = (length - 1) // 64 * 64
    state = card_hash.absorb(STATES[card_hash], message[:before]) + (8 * before).to_bytes(8, "big")
    last = message[before:]
    data = bytes([0x90, len(state)]) + state + bytes([0x80, len(last)]) + last
    assert card.send(f"002241AA038001{HASH_BYTE[card_hash]}") == "9000"
    assert card.send(with_length("002A90A0", data)) == "9000"
    assert card.send(f"002241B6068001{SIGN_BYTE[card_hash]}840181") == "9000"
    signature = card.send("002A9E9A00")
    assert len(signature) == 2 * 258
    verify(KeyRole.SIGNATURE, bytes.fromhex(signature[:-4]), card_hash.whole(message), LIBRARY[card_hash])
    assert card.send("002A9E9A00") == "6985", "a hash is signed once"


def test_a_short_message_is_hashed_on_the_card_as_a_whole(card: Terminal) -> None:
    card.send("002241AA03800140")
    assert card.send("002A90A007 9000 8003 616263") == "9000"
    card.send("002241B606800142840181")
    signature = card.fetch("002A9E9A")
    verify(KeyRole.SIGNATURE, signature, hashlib.sha256(b"abc").digest(), hashes.SHA256())


def test_a_hash_made_elsewhere_is_signed(card: Terminal) -> None:
    digest = hashlib.sha256(MESSAGE).digest()
    card.send("002241B606800142840181")
    verify(KeyRole.SIGNATURE, card.fetch("002A9E9A20" + digest.hex()), digest, hashes.SHA256())
    card.send("002241AA03800140")
    assert card.send("002A90A022 9020" + digest.hex()) == "9000"
    verify(KeyRole.SIGNATURE, card.fetch("002A9E9A"), digest, hashes.SHA256())
    assert card.send("002A9E9A14" + "00" * 20) == "6A80"


@pytest.mark.parametrize(
    "data", ["9001AA", "9003AABBCC800161", "9028" + "00" * 39 + "01800161", "8041" + "00" * 65, "90", ""]
)
def test_a_hash_command_that_makes_no_sense_is_refused(card: Terminal, data: str) -> None:
    card.send("002241AA03800140")
    assert card.send(with_length("002A90A0", bytes.fromhex(data)) if data else "002A90A0") == "6A80"


def test_no_key_works_before_the_pin() -> None:
    card = terminal()
    card.send("002241A406840182800102")
    card.send("002241B606800142840181")
    card.send("002241B80684018280011A")
    assert card.send("0088000003AABBCC") == "6982"
    assert card.send("002A9E9A20" + "00" * 32) == "6982"
    assert card.send("002A80860181") == "6982"
