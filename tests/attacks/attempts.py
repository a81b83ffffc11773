"""The copy paths that a person would try, with the tools that are at hand."""

import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

from tests.attacks.harness import Attempt, Became, Place, Target

_OTHER_PIN = "24680000"
#: SoftHSM takes any name for a token's directory.
_OTHER_NAME = "c0ffee00-0000-0000-0000-000000000000"
_LONGEST_DETAIL = 70


def _copy_to_another_machine(target: Target) -> Became:
    place = target.elsewhere("another machine")
    copy = target.copied_to(place)
    return _signs_at(target, place, copy)


def _copy_whole_state(target: Target) -> Became:
    shutil.copytree(target.state, target.workshop / "another state")
    place = target.elsewhere("another state")
    return _signs_at(target, place, place.tokens / target.files.name)


def _signs_at(target: Target, place: Place, copy: Path) -> Became:
    signs = target.signs(place.environment)
    return Became(signs, "signs there with the same PIN" if signs else "does not open there", copy)


def _copy_in_the_original_s_place(target: Target) -> Became:
    original = target.files
    aside = Path(shutil.move(original, target.workshop / "original"))
    copy = Path(shutil.copytree(aside, original.with_name(_OTHER_NAME)))
    signs = target.signs(target.environment)
    kept = Path(shutil.move(copy, target.workshop / "copy"))
    shutil.move(aside, original)
    return Became(signs, "signs in the original’s place", kept)


def _copy_beside(target: Target) -> Became:
    shutil.copytree(target.files, target.files.with_name(_OTHER_NAME))
    return Became(target.signs(target.environment), "SoftHSM ends itself at two tokens of one serial")


def _put_back_an_earlier_state(target: Target) -> Became:
    kept, original = target.workshop / "kept", target.files
    shutil.copytree(original, kept)
    target.signs(target.environment)
    shutil.rmtree(original)
    shutil.copytree(kept, original)
    signs = target.signs(target.environment)
    return Became(signs and target.copies_sign, "an earlier state of the token signs", kept, changed=signs)


def _copy_objects_into_own_token(target: Target) -> Became:
    tokens, environment = target.elsewhere("own token")
    target.run(
        "softhsm2-util", "--init-token", "--free", "--label", "own", "--so-pin", _OTHER_PIN, "--pin", _OTHER_PIN,
        environment=environment,
    )  # fmt: skip
    (own,) = tokens.iterdir()
    for file in target.files.glob("*.object"):
        if file.name != "token.object":
            shutil.copy(file, own / file.name)
            lock = file.with_suffix(".lock")
            if lock.is_file():
                shutil.copy(lock, own / lock.name)
    signs = target.signs(environment, pin=_OTHER_PIN, label="own")
    return Became(signs, "objects are sealed by their own token’s key")


def _look_into_files(target: Target) -> Became:
    content = b"".join(file.read_bytes() for file in target.files.iterdir())
    return Became(target.reveals(content), "no prime of the key is there in the clear")


def _dump_files(target: Target) -> Became:
    digits = b""
    for file in sorted(target.files.glob("*.object")):
        dumped = target.run("softhsm2-dump-file", file).stdout
        words = (word for line in dumped.splitlines() for word in line.split()[1:])
        digits += b"".join(word for word in words if len(word) == 2)
    try:
        content = bytes.fromhex(digits.decode("ascii"))
    except ValueError:
        content = digits
    return Became(target.reveals(content), "values are shown encrypted")


def _import_what_was_dumped(target: Target) -> Became:
    _, environment = target.elsewhere("imported")
    target.run(
        "softhsm2-util", "--init-token", "--free", "--label", "own", "--so-pin", _OTHER_PIN, "--pin", _OTHER_PIN,
        environment=environment,
    )  # fmt: skip
    for file in target.files.glob("*.object"):
        target.run(
            "softhsm2-util", "--import", file, "--token", "own", "--pin", _OTHER_PIN, "--label", "stolen",
            "--id", target.rsa_id.hex(), environment=environment,
        )  # fmt: skip
    return Became(target.signs(environment, pin=_OTHER_PIN, label="own"), "there is no key to import")


def _pkcs11_tool(target: Target, *arguments: str | Path) -> bytes:
    output = target.workshop / "output"
    done = target.run(
        "pkcs11-tool", "--module", target.module, "--token-label", target.label, "--login", "--pin", target.pin,
        *arguments, "--output-file", output,
    )  # fmt: skip
    return (output.read_bytes() if output.is_file() else b"") + done.stdout


def _read_private_key(target: Target) -> Became:
    content = _pkcs11_tool(target, "--read-object", "--type", "privkey", "--id", target.rsa_id.hex())
    return Became(target.reveals(content), _last_line(content))


def _wrap(target: Target) -> Became:
    _pkcs11_tool(
        target, "--keygen", "--key-type", "AES:32", "--usage-wrap", "--id", "99", "--label", "wrapper"
    )
    output = target.workshop / "wrapped"
    done = target.run(
        "pkcs11-tool", "--module", target.module, "--token-label", target.label, "--login", "--pin", target.pin,
        "--wrap", "--mechanism", "AES-KEY-WRAP-PAD", "--id", "99", "--application-id", target.rsa_id.hex(),
        "--output-file", output,
    )  # fmt: skip
    return Became(output.is_file() and output.stat().st_size > 0, _last_line(done.stdout))


def _derive(target: Target) -> Became:
    point = target.workshop / "point.der"
    target.run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "point.pem")
    target.run("openssl", "ec", "-in", "point.pem", "-pubout", "-outform", "DER", "-out", point)
    output = target.workshop / "derived"
    done = target.run(
        "pkcs11-tool", "--module", target.module, "--token-label", target.label, "--login", "--pin", target.pin,
        "--derive", "--mechanism", "ECDH1-DERIVE", "--id", target.ec_id.hex(), "--input-file", point,
        "--output-file", output,
    )  # fmt: skip
    return Became(output.is_file() and output.stat().st_size > 0, _last_line(done.stdout))


def _export_with_openssl(target: Target) -> Became:
    key_id = "".join(f"%{byte:02X}" for byte in target.rsa_id)
    uri = f"pkcs11:token={target.label};id={key_id};type=private?pin-value={target.pin}"
    output = target.workshop / "exported.pem"
    environment = {**target.environment, "PKCS11_MODULE_PATH": target.module}
    done = target.run(
        "openssl", "pkey", "-engine", "pkcs11", "-inform", "engine", "-in", uri, "-out", output,
        environment=environment,
    )  # fmt: skip
    copied = output.is_file() and target.run("openssl", "pkey", "-in", output, "-noout").returncode == 0
    return Became(copied, _last_line(done.stdout))


def _export_with_p11tool(target: Target) -> Became:
    key_id = "".join(f"%{byte:02X}" for byte in target.rsa_id)
    output = target.workshop / "p11tool.pem"
    done = target.run(
        "p11tool", "--provider", target.module, "--batch", "--login", "--export", "--outfile", output,
        f"pkcs11:token={target.label};id={key_id};type=private?pin-value={target.pin}",
    )  # fmt: skip
    copied = output.is_file() and b"PRIVATE KEY" in output.read_bytes()
    return Became(copied, _last_line(done.stdout))


_LOOK = "print(held[Attribute.PRIME_1].hex())"
#: What is done with the key, which is `held` then, by name.
_WAYS = {
    "read": _LOOK,
    "copy": f"held = key.copy({{Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False}}); {_LOOK}",
    "loosen": "key[Attribute.EXTRACTABLE] = True; key[Attribute.SENSITIVE] = False; print('changed')",
    "wrap": "aes = session.generate_key(KeyType.AES, 256, template={Attribute.WRAP: True}); "
    "print(aes.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD).hex())",
    "claim": "print(session.create_object({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.KEY_TYPE: KeyType.EC, "
    "Attribute.TOKEN: True, Attribute.LOCAL: True, Attribute.ID: key.id, Attribute.VALUE: b'1' * 32, "
    "Attribute.EC_PARAMS: bytes.fromhex('06082a8648ce3d030107')}))",
}


def _with_python(target: Target, way: str) -> subprocess.CompletedProcess[bytes]:
    program = (
        "import sys, pkcs11\n"
        "from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass\n"
        "module, label, pin, key_id = sys.argv[1:]\n"
        "token = pkcs11.lib(module).get_token(token_label=label)\n"
        "with token.open(rw=True, user_pin=pin) as session:\n"
        "    held = key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, id=bytes.fromhex(key_id))\n"
        f"    {_WAYS[way]}\n"
    )
    return target.run(
        sys.executable, "-c", program, target.module, target.label, target.pin, target.rsa_id.hex()
    )


def _see(target: Target, way: str) -> Became:
    done = _with_python(target, way)
    seen = target.reveals(_from_hexadecimal(done.stdout))
    return Became(seen or (way == "wrap" and done.returncode == 0), _last_line(done.stdout))


def _loosen(target: Target) -> Became:
    """Say of the key that it may leave, then look at it."""
    said = _with_python(target, "loosen")
    looked = _with_python(target, "read")
    seen = target.reveals(_from_hexadecimal(looked.stdout))
    return Became(seen, _last_line(looked.stdout or said.stdout), changed=said.returncode == 0)


def _claim(target: Target) -> Became:
    """Import a key of one's own under the key's identifier, claiming that it was made there."""
    done = _with_python(target, "claim")
    return Became(copied=False, detail=_last_line(done.stdout), changed=done.returncode == 0)


def _import_under_its_identifier(target: Target) -> Became:
    target.run("openssl", "genpkey", "-algorithm", "RSA", "-out", "own.pem")
    done = target.run(
        "softhsm2-util", "--import", target.workshop / "own.pem", "--token", target.label, "--pin", target.pin,
        "--label", "key", "--id", target.rsa_id.hex(), "--force",
    )  # fmt: skip
    return Became(copied=False, detail=_last_line(done.stdout), changed=done.returncode == 0)


def _replace_by_one_s_own(target: Target) -> Became:
    target.run(
        "pkcs11-tool", "--module", target.module, "--token-label", target.label, "--login", "--pin", target.pin,
        "--delete-object", "--type", "privkey", "--id", target.ec_id.hex(),
    )  # fmt: skip
    done = target.run(
        "pkcs11-tool", "--module", target.module, "--token-label", target.label, "--login", "--pin", target.pin,
        "--keypairgen", "--key-type", "EC:prime256v1", "--id", target.ec_id.hex(), "--label", "key",
    )  # fmt: skip
    return Became(copied=False, detail=_last_line(done.stdout), changed=done.returncode == 0)


def _load_into_another_tpm(target: Target) -> Became:
    """Export the key's blobs as its maker's tool does, and load them into a TPM of one's own."""
    place = target.elsewhere("another TPM")
    exported = target.run(
        "tpm2_ptool", "export", "--path", target.files, "--label", target.label, "--key-label", "key 1",
        "--userpin", target.pin, "--format", "tpm2", "--output-prefix", "stolen",
    )  # fmt: skip
    if exported.returncode != 0:
        return Became(copied=False, detail=_last_line(exported.stdout))
    target.run("tpm2_createprimary", "-C", "o", "-G", "ecc", "-c", "own.ctx", environment=place.environment)
    loaded = target.run(
        "tpm2_load", "-C", "own.ctx", "-u", "stolen.pub", "-r", "stolen.priv", "-c", "stolen.ctx",
        environment=place.environment,
    )  # fmt: skip
    return Became(loaded.returncode == 0, _last_line(loaded.stdout))


def _from_hexadecimal(output: bytes) -> bytes:
    try:
        return bytes.fromhex(output.decode("ascii").strip())
    except ValueError:
        return b""


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip()[:_LONGEST_DETAIL] if lines else ""


#: On a token whose module is used through PKCS#11, whatever is behind it.
THROUGH_THE_MODULE: tuple[Attempt, ...] = (
    Attempt(name="read the private key", tool="pkcs11-tool", take=_read_private_key),
    Attempt(name="wrap the private key with an AES key", tool="pkcs11-tool", take=_wrap),
    Attempt(name="derive a secret from the private key", tool="pkcs11-tool", take=_derive),
    Attempt(name="put another key in its place", tool="pkcs11-tool", take=_replace_by_one_s_own),
    Attempt(name="write the private key as PEM", tool="openssl", take=_export_with_openssl),
    Attempt(name="export the private key", tool="p11tool", take=_export_with_p11tool),
    Attempt(name="read CKA_PRIME_1", tool="python-pkcs11", take=partial(_see, way="read")),
    Attempt(name="copy the key as extractable", tool="python-pkcs11", take=partial(_see, way="copy")),
    Attempt(name="wrap the key with an AES key", tool="python-pkcs11", take=partial(_see, way="wrap")),
    Attempt(name="set CKA_EXTRACTABLE, then read", tool="python-pkcs11", take=_loosen),
    Attempt(name="import a key that claims CKA_LOCAL", tool="python-pkcs11", take=_claim),
)

#: With the files of a token, whatever is in them.
WITH_THE_FILES: tuple[Attempt, ...] = (
    Attempt(name="copy the token to another machine", tool="cp", take=_copy_to_another_machine, prevented=False),
    Attempt(name="copy the whole state directory", tool="cp", take=_copy_whole_state, prevented=False),
    Attempt(name="put back an earlier state of the token", tool="cp", take=_put_back_an_earlier_state,
            prevented=False),
    Attempt(name="look for the key in the token’s files", tool="cp", take=_look_into_files),
)  # fmt: skip

ON_SOFTHSM: tuple[Attempt, ...] = (
    *WITH_THE_FILES,
    Attempt(name="put a copy in the place of the original", tool="cp", take=_copy_in_the_original_s_place,
            prevented=False),
    Attempt(name="put a copy beside the original", tool="cp", take=_copy_beside),
    Attempt(name="copy the key’s files into a token of one’s own", tool="softhsm2-util",
            take=_copy_objects_into_own_token),
    Attempt(name="dump the token’s files", tool="softhsm2-dump-file", take=_dump_files),
    Attempt(name="import the token’s files", tool="softhsm2-util", take=_import_what_was_dumped),
    Attempt(name="import a key of one’s own under its identifier", tool="softhsm2-util",
            take=_import_under_its_identifier),
    *THROUGH_THE_MODULE,
)  # fmt: skip

ON_TPM: tuple[Attempt, ...] = (
    *WITH_THE_FILES,
    Attempt(name="load the key into another TPM", tool="tpm2_ptool", take=_load_into_another_tpm),
    *THROUGH_THE_MODULE,
)
