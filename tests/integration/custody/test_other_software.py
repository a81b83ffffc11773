"""What `pkcs11:` URIs and pin files are for: OpenSSL and pkcs11-tool sign with a key of ours."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.serialization import load_der_public_key

from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault, make_token
from cardd.custody.policy import KeyUse
from cardd.custody.uri import ObjectType, Pkcs11Uri
from cardd_pkcs11.types import CustodyLevel, KeyAlgorithm, KeyId
from tests.support.softhsm import KEY_ID, open_pool, require_tool, softhsm_environment, softhsm_profile

MESSAGE = b"signed by another program"
LABEL = "Structure n° 1; tests"


class _Held(NamedTuple):
    key: rsa.RSAPublicKey
    uri: Pkcs11Uri
    environment: dict[str, str]
    directory: Path


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[_Held]:
    vault = PinVault(tmp_path / "pins with a blank")
    async with open_pool(tmp_path) as pool:
        serial = await make_token(pool, vault, LABEL)
        maker = KeyMaker(pool, CustodyLevel.SOFTWARE)
        made = await maker.make(serial, KEY_ID, "clé 1", KeyAlgorithm.RSA_2048, KeyUse.SIGN)
        await maker.make(serial, KeyId(b"y" * 16), "clé 2", KeyAlgorithm.RSA_2048, KeyUse.SIGN)
        key = load_der_public_key(made.spki)
        assert isinstance(key, rsa.RSAPublicKey)
        uri = Pkcs11Uri(
            token=LABEL, serial=serial, label="clé 1", key_id=KEY_ID, type=ObjectType.PRIVATE,
            pin_file=vault.export(serial),
        )  # fmt: skip
        yield _Held(key, uri, {**os.environ, **softhsm_environment(tmp_path)}, tmp_path)


async def _run(held: _Held, *arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(
        *arguments, env=held.environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


def _files(held: _Held) -> tuple[Path, Path]:
    message, signature = held.directory / "message", held.directory / "signature"
    message.write_bytes(MESSAGE)
    return message, signature


async def test_openssl_signs_with_the_uri_alone(held: _Held) -> None:
    openssl = require_tool("openssl")
    message, signature = _files(held)
    configuration = held.directory / "openssl.cnf"
    configuration.write_text(
        "openssl_conf = conf\n[conf]\nengines = engines\n[engines]\npkcs11 = pkcs11\n"
        f"[pkcs11]\nengine_id = pkcs11\nMODULE_PATH = {softhsm_profile().locate()}\ninit = 0\n"
    )
    held.environment["OPENSSL_CONF"] = str(configuration)
    await _run(
        held, openssl, "dgst", "-sha256", "-engine", "pkcs11", "-keyform", "engine",
        "-sign", str(held.uri), "-out", str(signature), str(message),
    )  # fmt: skip
    held.key.verify(signature.read_bytes(), MESSAGE, padding.PKCS1v15(), hashes.SHA256())


async def test_pkcs11_tool_signs_with_the_parts_of_the_uri(held: _Held) -> None:
    tool = require_tool("pkcs11-tool")
    message, signature = _files(held)
    assert held.uri.pin_file is not None
    await _run(
        held, tool, "--module", str(softhsm_profile().locate()), "--token-label", LABEL, "--id", KEY_ID.hex(),
        "--login", "--pin", held.uri.pin_file.read_text(), "--sign", "--mechanism", "SHA256-RSA-PKCS",
        "--input-file", str(message), "--output-file", str(signature),
    )  # fmt: skip
    held.key.verify(signature.read_bytes(), MESSAGE, padding.PKCS1v15(), hashes.SHA256())
