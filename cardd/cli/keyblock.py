"""`cardd key block`: a compromised key, blocked for ever."""

import click

from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import print_answer, print_facts
from cardd.cli.secrets import confirm_or_stop
from cardd.client import segment
from cardd.orders.types import BlockedKeyView, KeyBlockRequest


@click.command("block", cls=Command)
@click.argument("spki_sha256", metavar="SPKI-SHA256")
@click.option("--reason", required=True, help="Why the key is compromised; kept and shown.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_options
def block(options: Options, *, spki_sha256: str, reason: str, yes: bool) -> None:
    """Block a compromised key for ever and revoke every certificate that shares it; this cannot be undone.

    The key is named as orders and certificates name it, by the SHA-256 of its public key; it may be a foreign one.
    """
    confirm_or_stop(
        say(
            f"Block the key {spki_sha256} and revoke its certificates, for ever?",
            f"Bloquer la clé {spki_sha256} et révoquer ses certificats, définitivement ?",
        ),
        yes=yes,
    )
    answer = options.client().post(f"/keys/{segment(spki_sha256)}/block", KeyBlockRequest(reason=reason))
    if options.json:
        print_answer(answer)
        return
    view = answer.decode(BlockedKeyView)
    print_facts(
        {
            "SPKI SHA-256": view.public_key_sha256,
            say("blocked", "bloquée"): view.blocked_at,
            say("reason", "motif"): view.reason,
            say("revoked now", "révoqués à l’instant"): view.revoked,
        }
    )
