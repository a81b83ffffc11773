"""`cardd key prove` and `cardd key block`, and the PKCS#12 that does not exist."""

import base64
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from cardd.custody.possession import message, verified_by
from cardd.orders.types import BlockedKeyView, OrderView, PossessionView
from cardd_pkcs11.types import Spki
from tests.support.api_samples import NOW, order
from tests.support.fake_daemon import FakeDaemon, Scripted, problem
from tests.unit.cli.conftest import Cardd

NONCE = base64.b64encode(b"n" * 32).decode()
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _waiting(nonce: str | None = NONCE) -> OrderView:
    return order(key_source="csr", possession=PossessionView(state="required", nonce=nonce))


@pytest.fixture
def demo(fake: FakeDaemon) -> FakeDaemon:
    """A daemon with an order that waits for its proof."""
    fake.on("GET", "/orders/order-1", Scripted(200, _waiting()))
    fake.on("POST", "/orders/order-1/possession", Scripted(200, order()))
    return fake


def _written(key: Key, path: Path, protection: KeySerializationEncryption | None = None) -> str:
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection or NoEncryption()))
    return str(path)


def _sent_signature(demo: FakeDaemon) -> bytes:
    return base64.b64decode(demo.asked[-1].body["signature"])


def _proves(key: Key, signature: bytes) -> bool:
    spki = Spki(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return verified_by(spki, message("order-1", NONCE), signature) is not None


@pytest.mark.parametrize(
    "key", [ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)]
)
def test_a_key_file_signs_here_and_only_its_signature_is_sent(
    demo: FakeDaemon, cardd: Cardd, tmp_path: Path, key: Key
) -> None:
    done = cardd("key", "prove", "order-1", "--key", _written(key, tmp_path / "key.pem"))
    assert done.code == 0, done.err
    assert [(each.method, each.target) for each in demo.asked] == [
        ("GET", "/api/v1/orders/order-1"),
        ("POST", "/api/v1/orders/order-1/possession"),
    ]
    assert set(demo.asked[-1].body) == {"signature", "mechanism"}
    assert _proves(key, _sent_signature(demo))
    assert "cardd retrieve order-1" in done.err


def test_a_protected_key_file_is_opened_with_its_passphrase(
    demo: FakeDaemon, cardd: Cardd, tmp_path: Path
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    file = _written(key, tmp_path / "key.pem", BestAvailableEncryption(b"open sesame"))
    (tmp_path / "passphrase").write_text("open sesame\n")
    done = cardd("key", "prove", "order-1", "--key", file, "--passphrase-file", str(tmp_path / "passphrase"))
    assert done.code == 0, done.err
    assert _proves(key, _sent_signature(demo))
    (tmp_path / "passphrase").write_text("wrong\n")
    done = cardd("key", "prove", "order-1", "--key", file, "--passphrase-file", str(tmp_path / "passphrase"))
    assert (done.code, done.out) == (2, "")
    assert "passphrase is wrong" in done.err


def test_another_tool_signs_what_is_written_for_it(demo: FakeDaemon, cardd: Cardd, tmp_path: Path) -> None:
    done = cardd("key", "prove", "order-1", "--message", str(tmp_path / "message"))
    assert done.code == 0, done.err
    assert (tmp_path / "message").read_bytes() == message("order-1", NONCE)
    (tmp_path / "signature").write_bytes(b"signed elsewhere")
    done = cardd("key", "prove", "order-1", "--signature", str(tmp_path / "signature"))
    assert done.code == 0, done.err
    assert _sent_signature(demo) == b"signed elsewhere"


def test_an_expired_nonce_is_replaced_first(demo: FakeDaemon, cardd: Cardd, tmp_path: Path) -> None:
    demo.on("GET", "/orders/order-1", Scripted(200, _waiting(nonce=None)))
    demo.on("POST", "/orders/order-1/possession/nonce", Scripted(200, _waiting()))
    key = ec.generate_private_key(ec.SECP256R1())
    done = cardd("key", "prove", "order-1", "--key", _written(key, tmp_path / "key.pem"))
    assert done.code == 0, done.err
    assert _proves(key, _sent_signature(demo))


@pytest.mark.parametrize("options", [(), ("--message", "m", "--signature", __file__)])
def test_one_way_to_prove_is_chosen(demo: FakeDaemon, cardd: Cardd, options: tuple[str, ...]) -> None:
    done = cardd("key", "prove", "order-1", *options)
    assert done.code == 2
    assert "one of --key, --uri, --message and --signature" in done.err
    assert demo.asked == []


def test_what_is_no_key_is_refused_without_asking_the_daemon(
    demo: FakeDaemon, cardd: Cardd, tmp_path: Path
) -> None:
    (tmp_path / "key.pem").write_text("garbage")
    done = cardd("key", "prove", "order-1", "--key", str(tmp_path / "key.pem"))
    assert done.code == 2
    assert "holds no private key" in done.err
    assert demo.asked == []


def test_a_refused_proof_is_told(demo: FakeDaemon, cardd: Cardd, tmp_path: Path) -> None:
    demo.on("POST", "/orders/order-1/possession", problem(422, "possession_signature_invalid", "wrong key"))
    key = ec.generate_private_key(ec.SECP256R1())
    done = cardd("key", "prove", "order-1", "--key", _written(key, tmp_path / "key.pem"))
    assert (done.code, done.out) == (1, "")
    assert "error: wrong key" in done.err


def test_an_order_that_waits_for_its_proof_says_how(demo: FakeDaemon, cardd: Cardd) -> None:
    done = cardd("order", "show", "order-1")
    assert "cardd key prove order-1 --key FILE" in done.err
    assert "cardd retrieve" not in done.err


def test_a_key_is_blocked_with_its_reason(fake: FakeDaemon, cardd: Cardd) -> None:
    view = BlockedKeyView(public_key_sha256="ab" * 32, reason="leaked", blocked_at=NOW)
    fake.on("POST", f"/keys/{'ab' * 32}/block", Scripted(200, view))
    done = cardd("key", "block", "ab" * 32, "--reason", "leaked")
    assert (done.code, fake.asked) == (2, [])
    done = cardd("key", "block", "ab" * 32, "--reason", "leaked", "--yes")
    assert done.code == 0, done.err
    assert fake.asked[-1].body == {"reason": "leaked"}
    assert "leaked" in done.out
    done = cardd("key", "block", "ab" * 32, "--reason", "leaked", "--yes", "--json")
    assert msgspec.json.decode(done.out)["reason"] == "leaked"


@pytest.mark.parametrize(
    "options", [("--format", "p12"), ("--format", "pfx"), ("--output", "me.p12"), ("--output", "ME.PFX")]
)
def test_a_pkcs12_file_is_refused_with_what_to_do_instead(
    fake: FakeDaemon, cardd: Cardd, options: tuple[str, ...]
) -> None:
    done = cardd("certificate", "download", "0a1b", *options)
    assert (done.code, done.out) == (1, "")
    assert "no copy of it can be made" in done.err
    assert "pkcs11_uri" in done.err
    assert fake.asked == []
