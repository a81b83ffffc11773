"""Statements of where a key was made, signed and checked."""

import base64
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cardd.clock import ManualClock
from cardd.custody.evidence import (
    Evidence,
    EvidenceInvalidError,
    InstanceKey,
    open_instance_key,
    read_instance_key,
    verify,
)
from cardd.custody.keys import MadeKey
from cardd.custody.registry import spki_hash
from cardd.custody.seal import SealBrokenError, Sealer, SecretKeeper
from cardd.errors import NotFoundError
from cardd.events import EventBus
from cardd.store import Store
from cardd_pkcs11.types import CustodyLevel, KeyAlgorithm, KeyAttributes, KeyId, Spki, TokenSerial
from tests.support.igc import spki
from tests.support.stores import open_store

#: Each test runs on SQLite and on PostgreSQL.
pytestmark = pytest.mark.usefixtures("each_store")

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
SEALER = Sealer(b"s" * 32, b"machine", SecretKeeper.KEY_FILE)
ATTRIBUTES = KeyAttributes(
    token=True, private=True, local=True, sensitive=True, always_sensitive=True, extractable=False,
    never_extractable=True, copyable=False, modifiable=False, sign=True, sign_recover=False, decrypt=False,
    wrap=False, unwrap=False, derive=False, key_gen_mechanism="EC_KEY_PAIR_GEN",
)  # fmt: skip


def _made() -> MadeKey:
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    return MadeKey(
        key_id=KeyId(b"k" * 16), token_serial=TokenSerial("0123"), spki=Spki(spki(public)),
        algorithm=KeyAlgorithm.EC_P256, level=CustodyLevel.MACHINE_BOUND, attributes=ATTRIBUTES,
    )  # fmt: skip


async def _evidence(state: Path) -> tuple[Evidence, Store, InstanceKey]:
    clock = ManualClock(NOW)
    store = await open_store(state, clock, EventBus())
    key = open_instance_key(state, SEALER)
    return Evidence(store, clock, key, SEALER, lambda _: "softhsm2"), store, key


async def test_a_statement_ties_the_key_to_token_module_machine_and_time(tmp_path: Path) -> None:
    evidence, store, key = await _evidence(tmp_path)
    made = _made()
    await evidence.witness(made)
    view = await evidence.get(spki_hash(made.spki))
    statement = verify(view.jws, read_instance_key(view.instance_key.encode()))
    assert statement == view.statement
    assert (statement.spki_sha256, statement.token_serial) == (spki_hash(made.spki), made.token_serial)
    assert (statement.module, statement.machine, statement.at) == ("softhsm2", SEALER.machine, NOW)
    assert (statement.level, statement.attributes) == (CustodyLevel.MACHINE_BOUND, ATTRIBUTES)
    assert statement.instance == key.id
    await store.close()


async def test_any_machine_that_shares_the_database_answers_with_the_statements_of_all(
    tmp_path: Path,
) -> None:
    made_there, store, key = await _evidence(tmp_path)
    await made_there.announce()
    made = _made()
    await made_there.witness(made)
    other = InstanceKey(Ed25519PrivateKey.generate())
    here = Evidence(store, ManualClock(NOW), other, SEALER, lambda _: "softhsm2")
    await here.announce()
    view = await here.get(spki_hash(made.spki))
    assert (view.statement.instance, view.instance_key) == (key.id, key.pem)
    assert verify(view.jws, read_instance_key(view.instance_key.encode())) == view.statement
    await store.close()


async def test_a_statement_of_an_instance_that_nobody_announced_is_refused(tmp_path: Path) -> None:
    evidence, store, _ = await _evidence(tmp_path)
    stranger = Evidence(
        store, ManualClock(NOW), InstanceKey(Ed25519PrivateKey.generate()), SEALER, lambda _: "softhsm2"
    )
    made = _made()
    await stranger.witness(made)
    with pytest.raises(EvidenceInvalidError):
        await evidence.get(spki_hash(made.spki))
    await store.close()


async def test_nothing_is_stated_of_an_unknown_key(tmp_path: Path) -> None:
    evidence, store, _ = await _evidence(tmp_path)
    with pytest.raises(NotFoundError):
        await evidence.get("00" * 32)
    await store.close()


async def test_a_changed_statement_or_another_instance_s_is_refused(tmp_path: Path) -> None:
    evidence, store, key = await _evidence(tmp_path)
    header, payload, signature = evidence.state(_made()).split(".")
    content = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=="))
    forged = msgspec.json.encode(content | {"level": "hardware"})
    lied = base64.urlsafe_b64encode(forged).rstrip(b"=").decode()
    for jws in (f"{header}.{lied}.{signature}", f"{header}.{payload}.", "a.b", "", "é.é.é"):
        with pytest.raises(EvidenceInvalidError):
            verify(jws, key.public_key)
    with pytest.raises(EvidenceInvalidError):
        verify(f"{header}.{payload}.{signature}", Ed25519PrivateKey.generate().public_key())
    await store.close()


def test_the_instance_key_stays_and_opens_on_its_machine_only(tmp_path: Path) -> None:
    first = open_instance_key(tmp_path, SEALER)
    assert open_instance_key(tmp_path, SEALER).id == first.id
    assert (tmp_path / "instance.pem").read_text() == first.pem
    assert (tmp_path / "instance.key").stat().st_mode & 0o777 == 0o600
    with pytest.raises(SealBrokenError):
        open_instance_key(tmp_path, Sealer(b"s" * 32, b"elsewhere", SecretKeeper.KEY_FILE))


def test_only_an_ed25519_key_is_an_instance_key() -> None:
    for pem in (b"", b"-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n"):
        with pytest.raises(EvidenceInvalidError):
            read_instance_key(pem)
