"""`cardd card …`: one card: made, inserted, removed, opposed; its PIN, its sessions, its signature."""

import base64
from pathlib import Path
from typing import IO

import click

from cardd.cards.types import (
    ISSUED_TYPES,
    AuthenticationRequest,
    AuthenticationView,
    CardRole,
    CardType,
    CardView,
    DecryptionView,
    DecryptRequest,
    OppositionRequest,
    PinChangeRequest,
    SignatureView,
    SignRequest,
    TestCardRequest,
    UnblockRequest,
)
from cardd.cli.cards import holder_of, show_cards
from cardd.cli.language import say
from cardd.cli.options import Group, Options, pass_options
from cardd.cli.output import note, print_answer, print_bytes, print_facts, print_table
from cardd.cli.secrets import confirm_or_stop, pin_options, read_pin
from cardd.cli.sessions import SessionChoice, card_session, open_session, session_options
from cardd.client import Answer, segment
from cardd.vocabulary import Profession

#: Bytes of data that fit a request body of 1 MiB as base64.
_MOST_DATA = 700 * 1024


@click.group("card", cls=Group)
def command() -> None:
    """Work with one card."""


@command.command("list")
@pass_options
def list_cards(options: Options) -> None:
    """List the cards, present or not."""
    show_cards(options)


@command.command("show")
@click.argument("serial")
@pass_options
def show(options: Options, *, serial: str) -> None:
    """Show a card: holder, certificates, PIN, capabilities."""
    _print_card(options, options.client().get(f"/cards/{segment(serial)}"))


@command.command("new")
@click.option("--habilitation", required=True, help="Approved habilitation that the card is made for.")
@click.option("--medium", type=click.Choice(["softhsm", "virtual"]), default="softhsm", show_default=True)
@click.option(
    "--type",
    "card_type",
    type=click.Choice([each.value for each in ISSUED_TYPES]),
    default="cps",
    show_default=True,
)
@click.option("--profession", type=int, help="Code of the profession, such as 10 for médecin.")
@click.option("--last-name", help="Default: the recipient of the habilitation.")
@click.option("--first-name", help="Default: the recipient of the habilitation.")
@click.option("--rpps", help="RPPS number of the holder (11 digits, test numbers begin with 99700).")
@click.option("--insert", is_flag=True, help="Insert the card at once.")
@pin_options
@pass_options
def new(
    options: Options,
    *,
    habilitation: str,
    medium: str,
    card_type: str,
    profession: int | None,
    last_name: str | None,
    first_name: str | None,
    rpps: str | None,
    insert: bool,
    pin_file: str | None,
    pin_stdin: bool,
) -> None:
    """Make a test card; its PIN is 1234 unless another one is given."""
    given_pin = pin_file is not None or pin_stdin
    request = TestCardRequest(
        habilitation=habilitation,
        medium="virtual" if medium == "virtual" else "softhsm",
        type=CardType(card_type),
        profession=Profession(profession) if profession in list(Profession) else None,
        last_name=last_name,
        first_name=first_name,
        rpps=rpps,
        pin=read_pin(pin_file, from_stdin=pin_stdin, prompt="PIN") if given_pin else None,
    )
    client = options.client()
    made = client.post("/test-cards", request)
    if insert:
        client.post(f"/test-cards/{segment(made.decode(CardView).serial)}/insert")
        made = client.get(f"/cards/{segment(made.decode(CardView).serial)}")
    _print_card(options, made)


@command.command("insert")
@click.argument("serial")
@pass_options
def insert(options: Options, *, serial: str) -> None:
    """Insert a test card."""
    answer = options.client().post(f"/test-cards/{segment(serial)}/insert")
    _done(options, answer, say(f"Card {serial} is inserted.", f"La carte {serial} est insérée."))


@command.command("remove")
@click.argument("serial")
@pass_options
def remove(options: Options, *, serial: str) -> None:
    """Remove a test card; its sessions end at once."""
    answer = options.client().post(f"/test-cards/{segment(serial)}/remove")
    _done(options, answer, say(f"Card {serial} is removed.", f"La carte {serial} est retirée."))


@command.command("pin")
@click.argument("serial")
@click.option("--new-pin-file", type=click.Path(dir_okay=False), help="Read the new PIN from this file.")
@click.option("--accept-final-try", is_flag=True, help="Use the PIN's last try: a wrong one blocks the card.")
@pin_options
@pass_options
def pin(
    options: Options,
    *,
    serial: str,
    new_pin_file: str | None,
    accept_final_try: bool,
    pin_file: str | None,
    pin_stdin: bool,
) -> None:
    """Change the PIN of a card; with --pin-stdin, the old one and the new one are a line each."""
    old = read_pin(pin_file, from_stdin=pin_stdin, prompt=say("Present PIN", "Code porteur actuel"))
    new_pin = read_pin(
        new_pin_file,
        from_stdin=pin_stdin and new_pin_file is None,
        prompt=say("New PIN", "Nouveau code porteur"),
        confirm=True,
    )
    request = PinChangeRequest(old=old, new=new_pin, accept_final_try=accept_final_try)
    answer = options.client().put(f"/cards/{segment(serial)}/pin", request)
    _done(options, answer, say("The PIN is changed.", "Le code porteur est changé."))


@command.command("unblock")
@click.argument("serial")
@click.option("--puk-file", type=click.Path(dir_okay=False), help="Read the PUK from this file.")
@pin_options
@pass_options
def unblock(
    options: Options, *, serial: str, puk_file: str | None, pin_file: str | None, pin_stdin: bool
) -> None:
    """Unblock the PIN of a card with its PUK; with --pin-stdin, the PUK and the new PIN are a line each."""
    puk = read_pin(
        puk_file, from_stdin=pin_stdin and puk_file is None, prompt=say("PUK", "Code de déblocage")
    )
    new_pin = read_pin(
        pin_file, from_stdin=pin_stdin, prompt=say("New PIN", "Nouveau code porteur"), confirm=True
    )
    request = UnblockRequest(puk=puk, new=new_pin)
    answer = options.client().put(f"/cards/{segment(serial)}/pin/unblock", request)
    _done(options, answer, say("The PIN is unblocked.", "Le code porteur est débloqué."))


@command.command("oppose")
@click.argument("serial")
@click.option("--reason", default="declared by the owner", show_default=True)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_options
def oppose(options: Options, *, serial: str, reason: str, yes: bool) -> None:
    """Oppose a card: it is blocked and all its certificates are revoked, for ever."""
    confirm_or_stop(
        say(
            f"Oppose card {serial} and revoke its certificates, for ever?",
            f"Opposer la carte {serial} et révoquer ses certificats, définitivement ?",
        ),
        yes=yes,
    )
    answer = options.client().post(f"/cards/{segment(serial)}/opposition", OppositionRequest(reason=reason))
    _done(options, answer, say(f"Card {serial} is opposed.", f"La carte {serial} est opposée."))


@command.command("session")
@click.argument("serial")
@click.option("--close", is_flag=True, help="Close the card's open sessions instead.")
@click.option("--accept-final-try", is_flag=True, help="Use the PIN's last try: a wrong one blocks the card.")
@pin_options
@pass_options
def session(
    options: Options,
    *,
    serial: str,
    close: bool,
    accept_final_try: bool,
    pin_file: str | None,
    pin_stdin: bool,
) -> None:
    """Open a card session and print its id, to be reused with --card-session."""
    client = options.client()
    if close:
        answer = client.delete(f"/cards/{segment(serial)}/session")
        _done(options, answer, say("The session is closed.", "La session est fermée."))
        return
    opened, answer = open_session(
        client, serial, SessionChoice(None, serial, pin_file, pin_stdin, accept_final_try)
    )
    if options.json:
        print_answer(answer)
    else:
        click.echo(opened.id)


@command.command("sign")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--role", type=click.Choice([each.value for each in CardRole]), default="signature", show_default=True
)
@click.option("--mechanism", default="sha256_rsa_pkcs", show_default=True)
@click.option("--digest", is_flag=True, help="FILE holds the digest already, not the data.")
@click.option("--output", type=click.Path(dir_okay=False), help="Write the signature here, in binary.")
@session_options
@pass_options
def sign(
    options: Options,
    *,
    file: IO[bytes],
    role: str,
    mechanism: str,
    digest: bool,
    output: str | None,
    session: SessionChoice,
) -> None:
    """Sign FILE (- for standard input) with a key of the card; prints the signature in base64."""
    content = file.read(_MOST_DATA + 1)
    if len(content) > _MOST_DATA:
        raise click.UsageError(
            say(
                f"More than {_MOST_DATA} bytes; hash the file and sign the digest with --digest.",
                f"Plus de {_MOST_DATA} octets ; calculez l’empreinte et signez-la avec --digest.",
            )
        )
    request = SignRequest(
        role=CardRole(role),
        mechanism=mechanism,
        data=None if digest else content,
        digest=content if digest else None,
    )
    client = options.client()
    with card_session(client, session) as opened:
        answer = client.post(f"/cards/{segment(opened.card)}/sign", request, card_session=opened.id)
    _put_out(options, answer, answer.decode(SignatureView).signature, output)


@command.command("authenticate")
@click.argument("challenge", type=click.File("rb"))
@click.option("--output", type=click.Path(dir_okay=False), help="Write the signature here, in binary.")
@session_options
@pass_options
def authenticate(
    options: Options, *, challenge: IO[bytes], output: str | None, session: SessionChoice
) -> None:
    """Sign the challenge in a file (16 to 1024 bytes, - for standard input); prints the signature in base64."""
    request = AuthenticationRequest(challenge=challenge.read(_MOST_DATA))
    client = options.client()
    with card_session(client, session) as opened:
        path = f"/cards/{segment(opened.card)}/authenticate"
        answer = client.post(path, request, card_session=opened.id)
    _put_out(options, answer, answer.decode(AuthenticationView).signature, output)


@command.command("decrypt")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--role",
    type=click.Choice([each.value for each in CardRole]),
    default="authentication",
    show_default=True,
)
@click.option("--mechanism", default="rsa_pkcs", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False), help="Write the plaintext here, in binary.")
@session_options
@pass_options
def decrypt(
    options: Options,
    *,
    file: IO[bytes],
    role: str,
    mechanism: str,
    output: str | None,
    session: SessionChoice,
) -> None:
    """Decrypt FILE (- for standard input) with a key of the card; prints the plaintext in base64."""
    request = DecryptRequest(ciphertext=file.read(_MOST_DATA), role=CardRole(role), mechanism=mechanism)
    client = options.client()
    with card_session(client, session) as opened:
        answer = client.post(f"/cards/{segment(opened.card)}/decrypt", request, card_session=opened.id)
    _put_out(options, answer, answer.decode(DecryptionView).plaintext, output)


def _put_out(options: Options, answer: Answer, content: bytes, output: str | None) -> None:
    """Write bytes to a file, or print them in base64."""
    if output is not None:
        Path(output).write_bytes(content)
    if options.json:
        print_answer(answer)
    elif output is None:
        print_bytes(base64.b64encode(content) + b"\n")


def _done(options: Options, answer: Answer, sentence: str) -> None:
    if not options.json:
        note(sentence)
    elif answer.body:
        print_answer(answer)


def _print_card(options: Options, answer: Answer) -> None:
    if options.json:
        print_answer(answer)
        return
    card = answer.decode(CardView)
    holder = "" if card.holder is None else f"{holder_of(card)} ({card.holder.identifier})"
    print_facts(
        {
            say("serial", "numéro"): card.serial,
            "type": f"{card.type or '?'} {card.generation}",
            say("medium", "support"): card.medium,
            "PKI": card.environment,
            say("holder", "porteur"): holder,
            say("reader", "lecteur"): card.reader,
            say("present", "présente"): card.present,
            say("module", "module"): card.module,
            say("problem", "problème"): "" if card.problem is None else say(card.problem.en, card.problem.fr),
            "PIN": "" if card.pin is None else f"{card.pin.state.value} ({card.pin.tries_left})",
            say("opposed", "opposée"): card.opposed,
            say("opposes at", "opposition le"): card.opposes_at,
            say("habilitations", "habilitations"): card.habilitations,
        }
    )
    click.echo()
    print_table(
        (say("role", "rôle"), say("serial", "numéro"), say("issuer", "émetteur"), say("until", "jusqu’au")),
        ((each.role, each.serial, each.issuer, each.not_after) for each in card.certificates),
    )
