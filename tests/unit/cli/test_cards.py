"""What a person sees of cards and readers, and what the daemon is sent."""

import base64
import json
from pathlib import Path

import msgspec
import pytest

from cardd.cards.types import CardEnvironment
from cardd.text import Text
from tests.support.api_samples import SESSION, card
from tests.support.fake_daemon import FakeDaemon, Scripted
from tests.unit.cli.conftest import Cardd

SERIAL = "00000017"
READER = {"name": "Reader 1", "state": "present", "card": SERIAL, "generation": "cps3", "atr": "3bac"}


@pytest.fixture
def demo(fake: FakeDaemon) -> FakeDaemon:
    """A daemon with one card present, whose PIN opens a session."""
    fake.on("GET", "/cards", Scripted(200, {"items": [card()], "next_cursor": None}))
    fake.on("POST", f"/cards/{SERIAL}/session", Scripted(201, SESSION))
    fake.on("DELETE", f"/cards/{SERIAL}/session", Scripted(204))
    return fake


def test_unblocking_reads_the_puk_and_the_new_pin(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("PUT", f"/cards/{SERIAL}/pin/unblock", Scripted(204))
    done = cardd("card", "unblock", SERIAL, "--pin-stdin", stdin="12345678\n4321\n")
    assert done.code == 0, done.err
    assert fake.asked[0].body == {"puk": "12345678", "new": "4321"}


def test_a_challenge_is_signed_in_a_session_of_its_own(
    demo: FakeDaemon, cardd: Cardd, tmp_path: Path
) -> None:
    answer = {"signature": "AQI=", "mechanism": "sha256_rsa_pkcs", "certificate": "AA==", "signed": "AA=="}
    demo.on("POST", f"/cards/{SERIAL}/authenticate", Scripted(200, answer))
    challenge = tmp_path / "challenge"
    challenge.write_bytes(b"c" * 32)
    done = cardd("card", "authenticate", str(challenge), "--pin-stdin", stdin="1234\n")
    assert (done.code, done.out.strip()) == (0, "AQI="), done.err
    asked = next(each for each in demo.asked if each.target.endswith("/authenticate"))
    assert asked.body == {"challenge": base64.b64encode(b"c" * 32).decode()}
    assert asked.headers["Card-Session"] == "session-1"


def test_a_plaintext_is_written_to_a_file(demo: FakeDaemon, cardd: Cardd, tmp_path: Path) -> None:
    answer = {"plaintext": base64.b64encode(b"secret").decode(), "mechanism": "rsa_pkcs"}
    demo.on("POST", f"/cards/{SERIAL}/decrypt", Scripted(200, answer))
    cryptogram, plain = tmp_path / "cryptogram", tmp_path / "plain"
    cryptogram.write_bytes(b"x" * 256)
    done = cardd("card", "decrypt", str(cryptogram), "--output", str(plain), "--pin-stdin", stdin="1234\n")
    assert done.code == 0, done.err
    assert plain.read_bytes() == b"secret"
    asked = next(each for each in demo.asked if each.target.endswith("/decrypt"))
    assert (asked.body["role"], asked.body["mechanism"]) == ("authentication", "rsa_pkcs")


def test_readers_are_listed_with_what_is_in_them(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("GET", "/readers", Scripted(200, [READER]))
    done = cardd("readers")
    assert done.code == 0, done.err
    for expected in ("Reader 1", "present", SERIAL, "cps3", "3bac"):
        assert expected in done.out


def test_readers_are_shown_again_at_each_change(fake: FakeDaemon, cardd: Cardd) -> None:
    def told(number: int, kind: str) -> bytes:
        data = {
            "id": number, "at": "2026-01-31T12:00:00Z", "type": kind, "subject": "reader:Reader 1", "data": {},
        }  # fmt: skip
        return f"id: {number}\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()

    empty = READER | {"state": "empty", "card": None, "generation": None, "atr": None}
    fake.on("GET", "/readers", Scripted(200, [empty]), Scripted(200, [READER]))
    stream = told(1, "order.created") + told(2, "card.inserted") + told(3, "card.read")
    fake.on("GET", "/events", Scripted(200, stream, "text/event-stream"))
    done = cardd("readers", "--watch", "--count", "2")
    assert done.code == 0, done.err
    assert done.out.index("empty") < done.out.index("card.inserted") < done.out.index(SERIAL)
    assert "order.created" not in done.out
    assert "card.read" in done.out


def test_a_card_of_which_little_could_be_read_is_shown_all_the_same(fake: FakeDaemon, cardd: Cardd) -> None:
    unread = msgspec.structs.replace(
        card(),
        type=None,
        holder=None,
        pin=None,
        certificates=(),
        issued_at=None,
        opposes_at=None,
        environment=CardEnvironment.UNKNOWN,
        problem=Text("No module drives it.", "Aucun module ne la pilote."),
    )
    fake.on("GET", f"/cards/{SERIAL}", Scripted(200, unread))
    done = cardd("card", "show", SERIAL)
    assert done.code == 0, done.err
    assert "unknown" in done.out
    assert "No module drives it." in done.out
