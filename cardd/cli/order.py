"""`cardd order …`: order a certificate under a card session."""

import base64
from pathlib import Path

import click

from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import note, print_answer, print_facts, print_history, print_more, print_table
from cardd.cli.sessions import AuthorisedSession, SessionChoice, card_session, session_options
from cardd.client import Answer, segment
from cardd.orders.types import (
    KeyRequest,
    Offer,
    OrderRequest,
    OrderState,
    OrderView,
    Person,
)
from cardd.vocabulary import Usage


@click.group("order", cls=Group)
def command() -> None:
    """Order a certificate: new, list, show, cancel."""


@command.command("new")
@click.option("--offer", type=click.Choice([each.value for each in Offer]), required=True)
@click.option("--usage", type=click.Choice([each.value for each in Usage]), required=True)
@click.option(
    "--structure", help="Identifier of the structure; default: the only one the card is authorised for."
)
@click.option("--service", help="Name of the service, which becomes the CN (ORG).")
@click.option("--fqdn", multiple=True, help="Host name, the first becomes the CN (SERV); may be repeated.")
@click.option("--email", help="Address that the certificate designates (SERV SMIME).")
@click.option("--last-name", help="Last name of the person (PRO, PS).")
@click.option("--first-name", help="First name of the person (PRO, PS).")
@click.option("--rpps", help="RPPS number of the health professional (PS).")
@click.option("--profession", type=int, help="Code of the profession (PS).")
@click.option("--register", help="Number in the structure's register (PRO).")
@click.option("--contact", multiple=True, required=True, help="Address for notices; may be repeated.")
@click.option(
    "--csr", type=click.Path(exists=True, dir_okay=False), help="Certify the key of this CSR (PEM or DER)."
)
@click.option("--token", help="Make the key on the token of this label; default: the structure's.")
@click.option("--algorithm", help="Algorithm of the key; default: the first one that the usage allows.")
@session_options
@pass_options
def new(
    options: Options,
    *,
    offer: str,
    usage: str,
    structure: str | None,
    service: str | None,
    fqdn: tuple[str, ...],
    email: str | None,
    last_name: str | None,
    first_name: str | None,
    rpps: str | None,
    profession: int | None,
    register: str | None,
    contact: tuple[str, ...],
    csr: str | None,
    token: str | None,
    algorithm: str | None,
    session: SessionChoice,
) -> None:
    """Order a certificate; the key is made on a token, or comes with a CSR."""
    person = None
    if last_name is not None or first_name is not None:
        person = Person(
            last_name=last_name or "",
            first_name=first_name or "",
            rpps=rpps,
            profession=profession,
            register=register,
        )
    key = key_request(csr, token, algorithm) or KeyRequest()
    client = options.client()
    with card_session(client, session) as opened:
        request = OrderRequest(
            offer=Offer(offer),
            usage=Usage(usage),
            structure=structure or _only_structure(opened, Offer(offer)),
            service=service,
            fqdn=fqdn,
            email=email,
            person=person,
            contacts=contact,
            key=key,
        )
        answer = client.post("/orders", request, card_session=opened.id)
    print_order(options, answer)


@command.command("list")
@click.option("--offer", type=click.Choice([each.value for each in Offer]))
@click.option("--usage", type=click.Choice([each.value for each in Usage]))
@click.option("--structure", help="Identifier of the structure.")
@click.option("--state", type=click.Choice([each.value for each in OrderState]))
@click.option("--search", help="Text to be found in the order.")
@page_options
@pass_options
def list_orders(
    options: Options,
    *,
    offer: str | None,
    usage: str | None,
    structure: str | None,
    state: str | None,
    search: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List the orders, the newest first."""
    show_orders(
        options,
        {
            "offer": offer,
            "usage": usage,
            "structure": structure,
            "state": state,
            "q": search,
            "limit": limit,
            "cursor": cursor,
        },
    )


@command.command("show")
@click.argument("order_id", metavar="ID")
@pass_options
def show(options: Options, *, order_id: str) -> None:
    """Show an order and its history."""
    print_order(options, options.client().get(f"/orders/{segment(order_id)}"))


@command.command("cancel")
@click.argument("order_id", metavar="ID")
@pass_options
def cancel(options: Options, *, order_id: str) -> None:
    """Cancel an order that is not retrieved; its key is destroyed."""
    print_order(options, options.client().delete(f"/orders/{segment(order_id)}"))


def key_request(csr: str | None, token: str | None, algorithm: str | None) -> KeyRequest | None:
    """Return where the key comes from, `None` when no option says so; raises `click.UsageError`."""
    if csr is None:
        return KeyRequest(token=token, algorithm=algorithm) if token or algorithm else None
    if token is not None or algorithm is not None:
        raise click.UsageError(
            say(
                "--csr brings its own key; leave --token and --algorithm out.",
                "--csr apporte sa propre clé ; omettez --token et --algorithm.",
            )
        )
    return KeyRequest(source="csr", csr=_read_csr(Path(csr)))


def _read_csr(path: Path) -> str:
    content = path.read_bytes()
    return (
        content.decode("ascii") if content.startswith(b"-----") else base64.b64encode(content).decode("ascii")
    )


def show_orders(options: Options, query: dict[str, str | int | None]) -> None:
    """Print a page of orders."""
    answer = options.client().get("/orders", query)
    if options.json:
        print_answer(answer)
        return
    page = answer.page(OrderView)
    print_table(
        (
            "id",
            say("state", "état"),
            say("offer", "offre"),
            "usage",
            "structure",
            say("name", "nom"),
            say("ordered", "commandée"),
            say("certificate", "certificat"),
        ),
        (
            (
                each.id,
                each.state,
                each.offer,
                each.usage,
                each.structure.name,
                each.label,
                each.created_at,
                each.certificate,
            )
            for each in page.items
        ),
        empty=say("No order.", "Aucune commande."),
    )
    print_more(page.next_cursor)


def print_order(options: Options, answer: Answer) -> None:
    """Print an order with its history."""
    if options.json:
        print_answer(answer)
        return
    view = answer.decode(OrderView)
    print_facts(
        {
            "id": view.id,
            say("state", "état"): view.state,
            say("certificate of", "certificat"): f"{view.offer.value} {view.usage.value} {view.label}",
            "structure": f"{view.structure.id} {view.structure.name}",
            say("key", "clé"): f"{view.key_source}, {view.algorithm}, {view.custody}",
            "SPKI SHA-256": view.public_key_sha256,
            say("possession", "possession"): view.possession.state,
            "PKCS#11": view.pkcs11_uri,
            say("contacts", "contacts"): view.contacts,
            say("ordered", "commandée"): view.created_at,
            say("expires", "expire"): view.expires_at if view.state is OrderState.TO_RETRIEVE else None,
            say("certificate", "certificat"): view.certificate,
        }
    )
    print_history(view.history)
    if view.state is OrderState.TO_RETRIEVE and view.possession.state == "required":
        note(
            say(
                f"Prove that you hold the key with: cardd key prove {view.id} --key FILE",
                f"Prouvez que vous détenez la clé par : cardd key prove {view.id} --key FICHIER",
            )
        )
    elif view.state is OrderState.TO_RETRIEVE:
        note(say(f"Retrieve it with: cardd retrieve {view.id}", f"Retirez-le par : cardd retrieve {view.id}"))


def _only_structure(session: AuthorisedSession, offer: Offer) -> str:
    covered = {
        structure.id
        for habilitation in session.habilitations
        if any(each.offer is offer for each in habilitation.offers)
        for structure in habilitation.structures
    }
    if len(covered) == 1:
        return covered.pop()
    choice = ", ".join(sorted(covered)) or "?"
    raise click.UsageError(
        say(
            f"Name the structure with --structure; the session covers: {choice}.",
            f"Indiquez la structure avec --structure ; la session couvre : {choice}.",
        )
    )
