"""The module itself refuses every way out on a key that KeyMaker made; and the daemon's protocol has none."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import get_args

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cardd.custody.keys import KeyMaker
from cardd.custody.policy import KeyUse, check_attributes, policy_for
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import SignatureMismatchError
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import CustodyLevel, KeyAlgorithm, KeyId, KeyTemplate, ObjectKind, SignMechanism
from tests.attacks.ways_out import DONE
from tests.support.softhsm import (
    USER_PIN,
    new_token,
    open_pool,
    require_tool,
    softhsm_environment,
    softhsm_profile,
)

TOP = Path(__file__).resolve().parents[2]
LABEL = "attacked"
RSA_ID, EC_ID = KeyId(b"r" * 16), KeyId(b"e" * 16)


@pytest.fixture(scope="module")
def became(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each attempt on keys that KeyMaker made."""
    state = tmp_path_factory.mktemp("state")
    asyncio.run(_make_keys(state))
    return asyncio.run(_attack(state))


async def _make_keys(state: Path) -> None:
    async with open_pool(state) as pool:
        serial = await new_token(pool, LABEL)
        pool.keep_open(serial, lambda: USER_PIN)
        maker = KeyMaker(pool, CustodyLevel.SOFTWARE)
        await maker.make(serial, RSA_ID, "rsa", KeyAlgorithm.RSA_2048, KeyUse.SIGN_AND_DECRYPT)
        await maker.make(serial, EC_ID, "ec", KeyAlgorithm.EC_P256, KeyUse.SIGN)


async def _make_weak_keys(state: Path) -> None:
    weak = KeyTemplate(
        sign=True, decrypt=False, sensitive=False, extractable=True, copyable=True, modifiable=True
    )
    async with open_pool(state) as pool:
        serial = await new_token(pool, LABEL)
        pool.keep_open(serial, lambda: USER_PIN)
        await pool.generate_key_pair(serial, RSA_ID, "rsa", KeyAlgorithm.RSA_2048, weak)
        await pool.generate_key_pair(serial, EC_ID, "ec", KeyAlgorithm.EC_P256, weak)


async def _attack(state: Path) -> dict[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.attacks.ways_out", str(softhsm_profile().locate()), LABEL, USER_PIN.reveal(),
        RSA_ID.hex(), EC_ID.hex(), cwd=TOP, stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **softhsm_environment(state), "PYTHONPATH": f"{TOP}:{TOP}/pkcs11:{TOP}/webservice"},
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    found: dict[str, str] = json.loads(output)
    return found


def test_every_way_out_is_refused(became: dict[str, str]) -> None:
    assert len(became) >= 40
    assert [name for name, value in became.items() if value == DONE] == []


@pytest.mark.parametrize("kind", ["RSA", "EC"])
@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        ("copy it as extractable", "CKR_ACTION_PROHIBITED"),
        ("set CKA_EXTRACTABLE to True", "CKR_ACTION_PROHIBITED"),
        ("set CKA_SENSITIVE to False", "CKR_ACTION_PROHIBITED"),
        ("wrap it with AES_KEY_WRAP_PAD", "CKR_KEY_UNEXTRACTABLE"),
        ("wrap it with RSA_PKCS", "CKR_KEY_UNEXTRACTABLE"),
        ("derive from it", "CKR_KEY_FUNCTION_NOT_PERMITTED"),
        ("create it anew from its public half", "CKR_TEMPLATE_INCOMPLETE"),
        ("import a key that claims CKA_LOCAL", "CKR_ATTRIBUTE_READ_ONLY"),
    ],
)
def test_a_refusal_says_why(became: dict[str, str], kind: str, attempt: str, refusal: str) -> None:
    assert became[f"{kind}: {attempt}"] == refusal


def test_no_private_value_is_read(became: dict[str, str]) -> None:
    reads = {value for name, value in became.items() if " read " in name}
    assert reads == {"CKR_ATTRIBUTE_SENSITIVE"}


async def test_the_same_attempts_succeed_on_keys_made_without_the_policy(tmp_path: Path) -> None:
    """So that a refusal above is the key's doing, and not a mistake of the attempt."""
    await _make_weak_keys(tmp_path)
    became = await _attack(tmp_path)
    done = {name for name, value in became.items() if value == DONE}
    for kind, secret in (("RSA", "CKA_PRIVATE_EXPONENT"), ("EC", "CKA_VALUE")):
        assert {
            f"{kind}: read {secret}",
            f"{kind}: copy it as extractable",
            f"{kind}: set CKA_DERIVE to True",
            f"{kind}: wrap it with AES_KEY_WRAP_PAD",
        } <= done, became


async def test_a_foreign_key_under_the_same_identifier_neither_passes_nor_signs(tmp_path: Path) -> None:
    """SoftHSM lets anybody with the PIN import a key under any identifier: its evidence gives it away."""
    await _make_keys(tmp_path)
    async with open_pool(tmp_path) as pool:
        [token] = await pool.list_tokens()
        pool.keep_open(token.serial, lambda: USER_PIN)
        spki = await pool.public_key(token.serial, EC_ID)
        await pool.destroy(token.serial, kinds=frozenset({ObjectKind.PRIVATE_KEY}), key_id=EC_ID)
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "foreign.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    imported = await asyncio.create_subprocess_exec(
        require_tool("softhsm2-util"), "--import", str(file), "--token", LABEL, "--pin", USER_PIN.reveal(),
        "--label", "ec", "--id", EC_ID.hex(), "--force", env={**os.environ, **softhsm_environment(tmp_path)},
    )  # fmt: skip
    assert await imported.wait() == 0
    async with open_pool(tmp_path) as pool:
        pool.keep_open(token.serial, lambda: USER_PIN)
        weaknesses = check_attributes(await pool.key_attributes(token.serial, EC_ID), policy_for(KeyUse.SIGN))
        assert {"local", "always_sensitive", "never_extractable"} <= {each.attribute for each in weaknesses}
        with pytest.raises(SignatureMismatchError):
            await pool.sign(token.serial, EC_ID, SignMechanism.ECDSA_SHA256, b"x", spki=spki)


def test_no_call_of_the_protocol_wraps_copies_imports_or_exports_a_private_key() -> None:
    """Every call by its name, so that a new one has to be thought about here."""
    assert {call.__name__ for call in get_args(protocol.AnyCall)} == {
        "Start", "Ping", "Refresh", "ListTokens", "InitToken", "InitPin", "Login", "Logout", "Forget", "ChangePin",
        "ListObjects", "GenerateKeyPair", "ReadKeyAttributes", "ReadPublicKey", "Sign", "Decrypt",
        "StoreCertificate", "StoreData", "ReadData", "Destroy", "Capabilities", "Unblock",
    }  # fmt: skip
    words = ("wrap", "copy", "import", "export", "derive", "create", "value")
    tags = {str(call.__struct_config__.tag) for call in get_args(protocol.AnyCall)}
    operations = {name for name in vars(TokenOperations) if not name.startswith("_")}
    assert [name for name in tags | operations for word in words if word in name] == []


def test_what_the_daemon_asks_of_a_key_forbids_every_way_out() -> None:
    for use in KeyUse:
        template = policy_for(use).template
        assert (template.private, template.sensitive) == (True, True)
        assert (template.extractable, template.copyable, template.modifiable) == (False, False, False)
    assert not {"wrap", "unwrap", "derive"} & set(KeyTemplate.__struct_fields__)
