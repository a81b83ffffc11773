"""`cardd certificate …`: issued certificates, to list, to show, to download."""

from pathlib import Path

import click

from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import (
    note,
    print_answer,
    print_bytes,
    print_facts,
    print_history,
    print_json,
    print_more,
    print_table,
)
from cardd.client import Answer, segment
from cardd.orders.errors import PrivateKeyStaysError
from cardd.orders.types import CertificateState, CertificateSummary, CertificateView

#: What a file with the private key in it would be called.
_PKCS12 = ("p12", "pfx", "pkcs12")


@click.group("certificate", cls=Group)
def command() -> None:
    """List, show and download certificates."""


@command.command("list")
@click.option("--state", type=click.Choice([each.value for each in CertificateState]))
@click.option("--search", help="Text to be found in the certificate.")
@click.option("--expires-before", metavar="TIME", help="RFC 3339 time, such as 2027-01-31T00:00:00Z.")
@page_options
@pass_options
def list_certificates(
    options: Options,
    *,
    state: str | None,
    search: str | None,
    expires_before: str | None,
    limit: int,
    cursor: str | None,
) -> None:
    """List the certificates."""
    query = {"state": state, "q": search, "expires_before": expires_before, "limit": limit, "cursor": cursor}
    answer = options.client().get("/certificates", query)
    if options.json:
        print_answer(answer)
        return
    page = answer.page(CertificateSummary)
    print_table(
        (
            say("serial", "numéro"),
            say("state", "état"),
            say("offer", "offre"),
            "usage",
            say("name", "nom"),
            say("until", "jusqu’au"),
            say("days left", "jours restants"),
            say("custody", "garde"),
        ),
        (
            (
                each.serial,
                each.state,
                each.offer,
                each.usage,
                each.common_name,
                each.not_after,
                each.days_left,
                each.custody,
            )
            for each in page.items
        ),
        empty=say("No certificate.", "Aucun certificat."),
    )
    print_more(page.next_cursor)


@command.command("show")
@click.argument("serial")
@pass_options
def show(options: Options, *, serial: str) -> None:
    """Show a certificate and its history."""
    print_certificate(options, options.client().get(f"/certificates/{segment(serial)}"))


@command.command("download")
@click.argument("serial")
@click.option(
    "--format",
    "form",
    type=click.Choice(["pem", "der", "chain", *_PKCS12]),
    default="pem",
    show_default=True,
    help="pem: the certificate; der: the same in binary; chain: the certificate and its issuers, PEM; "
    "p12, pfx, pkcs12: do not exist, since private keys stay on their token; say what to do instead.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False), help="Write to this file instead of standard output."
)
@pass_options
def download(options: Options, *, serial: str, form: str, output: str | None) -> None:
    """Download a certificate, or its whole chain."""
    if form in _PKCS12 or (output is not None and Path(output).suffix.lower()[1:] in _PKCS12):
        raise PrivateKeyStaysError.of_certificate()
    client, path = options.client(), f"/certificates/{segment(serial)}"
    match form:
        case "der":
            content = client.get(path, accept="application/pkix-cert").body
        case "chain":
            content = client.get(path, accept="application/pem-certificate-chain").body
        case _:
            content = client.get(path).decode(CertificateView).pem.encode("ascii")
    if output is None and options.json:
        raise click.UsageError(say("--json needs --output here.", "--json demande ici --output."))
    if output is None:
        print_bytes(content)
        return
    Path(output).write_bytes(content)
    if options.json:
        print_json({"serial": serial, "format": form, "file": output, "bytes": len(content)})
    else:
        note(say(f"Written to {output}.", f"Écrit dans {output}."))


def print_certificate(options: Options, answer: Answer) -> None:
    """Print a certificate with its history."""
    if options.json:
        print_answer(answer)
        return
    view = answer.decode(CertificateView)
    structure = view.structure
    print_facts(
        {
            say("serial", "numéro"): view.serial,
            say("state", "état"): view.state,
            say("profile", "gabarit"): view.profile,
            say("subject", "sujet"): view.subject,
            say("issuer", "émetteur"): view.issuer,
            "structure": f"{structure.id} {structure.name}" if structure else None,
            say("valid from", "valide du"): view.not_before,
            say(
                "valid until", "valide jusqu’au"
            ): f"{view.not_after.astimezone():%Y-%m-%d %H:%M:%S %z} ({view.days_left} d)",
            say("custody", "garde"): view.custody,
            "SPKI SHA-256": view.public_key_sha256,
            "PKCS#11": view.pkcs11_uri,
            say("contacts", "contacts"): view.contacts,
            say("order", "commande"): view.order,
            say("revoked", "révoqué"): view.revoked_at,
            say("reason", "motif"): view.revocation_reason,
        }
    )
    print_history(view.history)
