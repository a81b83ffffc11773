"""`cardd key prove`: show that the key of an order's CSR is held, by signing the order's nonce with it."""

from pathlib import Path

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.order import print_order
from cardd.cli.output import note, print_json
from cardd.cli.secrets import read_passphrase
from cardd.client import Answer, Client, segment
from cardd.custody.possession import message
from cardd.logs import configure_logs
from cardd.orders.types import OrderView, PossessionProof

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("prove", cls=Command)
@click.argument("order_id", metavar="ORDER")
@click.option(
    "--key", "key_file", type=_FILE, help="Sign with this private key (PEM); it stays on this machine."
)
@click.option("--uri", help="Sign with the key on a token of yours that this pkcs11: URI names (RFC 7512).")
@click.option(
    "--module", "module_file", type=_FILE, help="The token's PKCS#11 module; default: PKCS11_MODULE_PATH."
)
@click.option("--passphrase-file", help="The key file's passphrase is the first line of this file.")
@click.option(
    "--message",
    "message_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write what has to be signed to this file, for another tool to sign.",
)
@click.option("--signature", "signature_file", type=_FILE, help="Send this signature of the message.")
@pass_options
def prove(
    options: Options,
    *,
    order_id: str,
    key_file: Path | None,
    uri: str | None,
    module_file: Path | None,
    passphrase_file: str | None,
    message_file: Path | None,
    signature_file: Path | None,
) -> None:
    """Prove that you hold the key of ORDER's CSR; without it, the order is not retrieved.

    With --key, the key in the file signs; with --uri, a key on a token, whose PIN is asked for or is in the URI's
    pin-source. A key elsewhere signs what --message wrote (SHA-256 with RSA PKCS#1 v1.5
    or PSS, or ECDSA in DER), and --signature sends the result.
    """
    if sum(each is not None for each in (key_file, uri, message_file, signature_file)) != 1:
        raise click.UsageError(
            say(
                "Give one of --key, --uri, --message and --signature.",
                "Donnez une des options --key, --uri, --message et --signature.",
            )
        )
    client, path = options.client(), f"/orders/{segment(order_id)}"
    if signature_file is not None:
        print_order(options, _sent(client, path, signature_file.read_bytes()))
    elif key_file is not None:
        key = _loaded(key_file, passphrase_file)
        print_order(options, _sent(client, path, _signature(key, _to_sign(client, path))))
    elif uri is not None:
        from cardd.cli.owntokens import sign_on_own_token  # noqa: PLC0415  the other ways do without a module

        configure_logs(options.settings().log)
        signature = sign_on_own_token(uri, module_file, _to_sign(client, path))
        print_order(options, _sent(client, path, signature))
    elif message_file is not None:
        message_file.write_bytes(_to_sign(client, path))
        if options.json:
            print_json({"order": order_id, "file": str(message_file)})
        else:
            note(say(f"Written to {message_file}; sign it.", f"Écrit dans {message_file} ; signez-le."))


def _to_sign(client: Client, path: str) -> bytes:
    """Return the order's message, made here from its nonce; an expired nonce is replaced first."""
    view = client.get(path).decode(OrderView)
    if view.possession.nonce is None:
        view = client.post(f"{path}/possession/nonce").decode(OrderView)
    if view.possession.nonce is None:
        raise click.ClickException(say("This order has no nonce.", "Cette commande n’a pas de défi."))
    return message(view.id, view.possession.nonce)


def _sent(client: Client, path: str, signature: bytes) -> Answer:
    return client.post(f"{path}/possession", PossessionProof(signature=signature))


def _loaded(path: Path, passphrase_file: str | None) -> rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey:
    content = path.read_bytes()
    try:
        try:
            key = load_pem_private_key(content, None)
        except TypeError:
            key = load_pem_private_key(content, read_passphrase(passphrase_file).encode("utf-8"))
    except (ValueError, UnsupportedAlgorithm):
        raise click.UsageError(
            say(
                f"{path} holds no private key in PEM, or the passphrase is wrong.",
                f"{path} ne contient pas de clé privée en PEM, ou la phrase secrète est fausse.",
            )
        ) from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise click.UsageError(say("The key is neither RSA nor EC.", "La clé n’est ni RSA ni EC."))
    return key


def _signature(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(content, PKCS1v15(), SHA256())
    return key.sign(content, ec.ECDSA(SHA256()))
