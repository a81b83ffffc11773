"""Signing with a key on a token of the user's own, named by a `pkcs11:` URI (RFC 7512); the daemon sees none of it."""

import hashlib
import os
from pathlib import Path

import click

from cardd.cli.language import say
from cardd.cli.secrets import read_pin
from cardd.cli.startup import run_on_loop
from cardd.custody.errors import token_errors_translated
from cardd.custody.uri import Pkcs11Uri, parse_uri
from cardd_pkcs11.client import TokenHost
from cardd_pkcs11.errors import MechanismUnavailableError, TokenNotFoundError
from cardd_pkcs11.profiles import ModuleProfile, Quirks, Title
from cardd_pkcs11.types import CustodyLevel, KeyId, Secret, SignMechanism, TokenSerial

_MODULE_VARIABLE = "PKCS11_MODULE_PATH"

#: DER of the DigestInfo of SHA-256, up to the digest (RFC 8017 §9.2, note 1).
_SHA256_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


def sign_on_own_token(uri: str, module: Path | None, content: bytes) -> bytes:
    """Return the signature over `content` by the key that a URI names, as `openssl dgst -sha256` makes it.

    The module is `module`, or the URI's `module-path`, or that of the variable PKCS11_MODULE_PATH. The PIN is in the
    URI's `pin-source`, or asked for.

    Raises:
        click.UsageError: the URI or the module is not usable.
        TokenFaultError: the token refused.
    """
    try:
        named = parse_uri(uri)
    except ValueError as error:
        raise click.UsageError(
            say(f"The URI cannot be used: {error}.", f"URI inutilisable : {error}.")
        ) from None
    path = module or named.module_path or _from_environment()
    if path is None or not path.is_file():
        raise click.UsageError(
            say(
                f"Which PKCS#11 module? Name its file with --module or {_MODULE_VARIABLE}.",
                f"Quel module PKCS#11 ? Indiquez son fichier par --module ou {_MODULE_VARIABLE}.",
            )
        )
    pin_file = None if named.pin_file is None else str(named.pin_file)
    pin = Secret(read_pin(pin_file, from_stdin=False, prompt=say("PIN of the token", "Code du jeton")))
    with token_errors_translated():
        return run_on_loop(_signed(named, path, pin, content))


async def _signed(named: Pkcs11Uri, module: Path, pin: Secret, content: bytes) -> bytes:
    # Any module: nothing is known of it but what it says itself.
    profile = ModuleProfile(
        name=module.name,
        title=Title(en=module.name, fr=module.name),
        custody=CustodyLevel.SOFTWARE,
        paths={},
        package=module.name,
        quirks=Quirks(probes_mechanisms=True),
    )
    host = TokenHost(profile, os.environ, module_path=module)
    try:
        serial = await _token(host, named)
        await host.login(serial, pin)
        key_id = named.key_id or KeyId(b"")
        spki = await host.public_key(serial, key_id)
        able = (await host.capabilities(serial, key_id)).sign
        for mechanism, data in (
            (SignMechanism.SHA256_RSA_PKCS, content),
            (SignMechanism.ECDSA_SHA256, content),
            (SignMechanism.RSA_PKCS, _SHA256_DIGEST_INFO + hashlib.sha256(content).digest()),
        ):
            if mechanism in able:
                return await host.sign(serial, key_id, mechanism, data, spki=spki)
        raise MechanismUnavailableError("the key signs neither with RSA PKCS#1 nor with ECDSA")
    finally:
        await host.close()


async def _token(host: TokenHost, named: Pkcs11Uri) -> TokenSerial:
    """Return the serial of the only token that the URI fits."""
    fitting = [
        token.serial
        for token in await host.list_tokens()
        if named.token in (None, token.label) and named.serial in (None, token.serial)
    ]
    if len(fitting) != 1:
        raise TokenNotFoundError(f"{len(fitting)} tokens fit the URI, and one is wanted")
    return fitting[0]


def _from_environment() -> Path | None:
    value = os.environ.get(_MODULE_VARIABLE)
    return Path(value) if value else None
