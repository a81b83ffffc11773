"""`cardd token …`: the PIN of one token for programs, and what to do about a copy of it."""

import click

from cardd.cli.language import say
from cardd.cli.options import Group, Options, pass_options
from cardd.cli.output import note, print_answer, print_facts
from cardd.cli.secrets import confirm_or_stop
from cardd.client import segment
from cardd.custody.types import QuarantineOutcome


@click.group("token", cls=Group)
def command() -> None:
    """Export a token's PIN for programs; decide about a copy of a token."""


@command.command("pin")
@click.argument("token")
@click.option("--withdraw", is_flag=True, help="Take it back: the token gets a new, sealed PIN.")
@pass_options
def pin(options: Options, *, token: str, withdraw: bool) -> None:
    """Write the PIN of TOKEN (label or serial) into a file that `pkcs11_uri` then names.

    From then on the token's keys are worth `software` only: who reads that file can use a copy of the token.
    """
    call = "pin-withdrawal" if withdraw else "pin-file"
    answer = options.client().post(f"/tokens/{segment(token)}/{call}", {})
    if options.json:
        print_answer(answer)
        return
    shown = answer.json()
    print_facts(
        {
            say("label", "nom"): shown["label"],
            say("serial", "numéro"): shown["serial"],
            say("custody", "garde"): shown["level"],
            say("PIN file", "fichier du PIN"): shown["pin_file"],
        }
    )


@command.command("revoke")
@click.argument("token")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_options
def revoke(options: Options, *, token: str, yes: bool) -> None:
    """Revoke every certificate on TOKEN, which is in quarantine, and give it up."""
    question = say(
        f"Revoke every certificate on {token}, for ever?",
        f"Révoquer tous les certificats de {token}, définitivement ?",
    )
    confirm_or_stop(question, yes=yes)
    _decide(options, token, "revoke")


@command.command("release")
@click.argument("token")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_options
def release(options: Options, *, token: str, yes: bool) -> None:
    """Trust TOKEN, which is in quarantine, again: you know how it came to differ."""
    question = say(
        f"Is {token} the only copy, so that it can be trusted?",
        f"{token} est-il l’unique exemplaire, digne de confiance ?",
    )
    confirm_or_stop(question, yes=yes)
    _decide(options, token, "release")


def _decide(options: Options, token: str, decision: str) -> None:
    answer = options.client().post(f"/tokens/{segment(token)}/quarantine", {"decision": decision})
    if options.json:
        print_answer(answer)
        return
    outcome = answer.decode(QuarantineOutcome)
    print_facts(
        {
            say("token", "jeton"): outcome.label,
            say("decision", "décision"): outcome.decision,
            say("revoked", "révoqués"): outcome.revoked,
        }
    )
    note(say("Done.", "Fait."))
