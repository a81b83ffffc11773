"""The copy paths that a person would try, with the tools that are at hand."""

import shutil
import sys
from pathlib import Path

from tests.attacks.harness import Attempt, Became, Target

_OTHER_PIN = "24680000"
_LONGEST_DETAIL = 70


def _copy_to_another_machine(target: Target) -> Became:
    tokens, environment = target.elsewhere("another machine")
    shutil.copytree(target.token_directory, tokens / target.token_directory.name)
    return Became(target.signs(environment), "signs there with the same PIN")


def _copy_whole_state(target: Target) -> Became:
    _, environment = target.elsewhere("another state")
    shutil.copytree(target.state, target.workshop / "another state", dirs_exist_ok=True)
    return Became(target.signs(environment), "signs there with the same PIN")


def _copy_beside(target: Target) -> Became:
    copy = target.token_directory.with_name("c0ffee00-0000-0000-0000-000000000000")
    original = target.token_directory
    shutil.copytree(original, copy)
    aside = target.workshop / "original"
    shutil.move(original, aside)
    signs = target.signs(target.environment)
    shutil.move(aside, original)
    return Became(signs, "signs in the original’s place")


def _put_back_an_earlier_state(target: Target) -> Became:
    kept, original = target.workshop / "kept", target.token_directory
    shutil.copytree(original, kept)
    target.signs(target.environment)
    shutil.rmtree(original)
    shutil.copytree(kept, original)
    return Became(target.signs(target.environment), "an earlier state of the token signs")


def _copy_objects_into_own_token(target: Target) -> Became:
    tokens, environment = target.elsewhere("own token")
    target.run(
        "softhsm2-util", "--init-token", "--free", "--label", "own", "--so-pin", _OTHER_PIN, "--pin", _OTHER_PIN,
        environment=environment,
    )  # fmt: skip
    (own,) = tokens.iterdir()
    for file in target.token_directory.glob("*.object"):
        if file.name != "token.object":
            shutil.copy(file, own / file.name)
            lock = file.with_suffix(".lock")
            if lock.is_file():
                shutil.copy(lock, own / lock.name)
    signs = target.signs(environment, pin=_OTHER_PIN, label="own")
    return Became(signs, "objects are sealed by their own token’s key")


def _look_into_files(target: Target) -> Became:
    content = b"".join(file.read_bytes() for file in target.token_directory.iterdir())
    return Became(target.reveals(content), "no prime of the key is there in the clear")


def _dump_files(target: Target) -> Became:
    digits = b""
    for file in sorted(target.token_directory.glob("*.object")):
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
    for file in target.token_directory.glob("*.object"):
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


def _with_python(target: Target, way: str) -> Became:
    program = (
        "import sys, pkcs11\n"
        "from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass\n"
        "module, label, pin, key_id, way = sys.argv[1:]\n"
        "token = pkcs11.lib(module).get_token(token_label=label)\n"
        "with token.open(rw=True, user_pin=pin) as session:\n"
        "    key = session.get_key(object_class=ObjectClass.PRIVATE_KEY, id=bytes.fromhex(key_id))\n"
        "    if way == 'read':\n"
        "        print(key[Attribute.PRIVATE_EXPONENT].hex())\n"
        "    elif way == 'copy':\n"
        "        key.copy({Attribute.EXTRACTABLE: True, Attribute.SENSITIVE: False})\n"
        "    elif way == 'loosen':\n"
        "        key[Attribute.EXTRACTABLE] = True\n"
        "    elif way == 'wrap':\n"
        "        aes = session.generate_key(KeyType.AES, 256, template={Attribute.WRAP: True})\n"
        "        print(aes.wrap_key(key, mechanism=Mechanism.AES_KEY_WRAP_PAD).hex())\n"
    )
    done = target.run(
        sys.executable, "-c", program, target.module, target.label, target.pin, target.rsa_id.hex(), way
    )
    return Became(done.returncode == 0, _last_line(done.stdout))


def _last_line(output: bytes) -> str:
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1].strip()[:_LONGEST_DETAIL] if lines else ""


ATTEMPTS: tuple[Attempt, ...] = (
    Attempt(name="copy the token’s directory to another machine", tool="cp", take=_copy_to_another_machine,
            whole_token=True),
    Attempt(name="copy the whole state directory", tool="cp", take=_copy_whole_state, whole_token=True),
    Attempt(name="put a copy in the place of the original", tool="cp", take=_copy_beside, whole_token=True),
    Attempt(name="put back an earlier state of the token", tool="cp", take=_put_back_an_earlier_state,
            whole_token=True),
    Attempt(name="copy the key’s files into a token of one’s own", tool="cp", take=_copy_objects_into_own_token),
    Attempt(name="look for the key in the token’s files", tool="cp", take=_look_into_files),
    Attempt(name="dump the token’s files", tool="softhsm2-dump-file", take=_dump_files),
    Attempt(name="import the token’s files", tool="softhsm2-util", take=_import_what_was_dumped),
    Attempt(name="read the private key", tool="pkcs11-tool", take=_read_private_key),
    Attempt(name="wrap the private key with an AES key", tool="pkcs11-tool", take=_wrap),
    Attempt(name="derive a secret from the private key", tool="pkcs11-tool", take=_derive),
    Attempt(name="write the private key as PEM", tool="openssl", take=_export_with_openssl),
    Attempt(name="export the private key", tool="p11tool", take=_export_with_p11tool),
    *(
        Attempt(name=name, tool="python-pkcs11", take=lambda target, way=way: _with_python(target, way))  # type: ignore[misc]
        for way, name in (
            ("read", "read CKA_PRIVATE_EXPONENT"),
            ("copy", "copy the key as extractable"),
            ("loosen", "set CKA_EXTRACTABLE"),
            ("wrap", "wrap the key with an AES key"),
        )
    ),
)  # fmt: skip
