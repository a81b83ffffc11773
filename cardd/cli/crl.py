"""`cardd crl …`: the revocation lists that the daemon keeps, and the status of certificates."""

import click
import msgspec

from cardd.cli import crlexport, crlpolicy, crlsources
from cardd.cli.crlprogress import refreshed
from cardd.cli.exits import ExitCode
from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import note, print_answer, print_facts, print_json, print_more, print_table
from cardd.cli.pemfiles import as_pem, spki_sha256
from cardd.client import Answer, segment
from cardd.revocation.types import CrlView, Decision, RevocationAnswer


class _Answers(msgspec.Struct, frozen=True):
    items: tuple[RevocationAnswer, ...]


@click.group("crl", cls=Group)
def command() -> None:
    """Work with the revocation lists that the daemon keeps."""


for _each in (
    crlexport.command,
    crlpolicy.command,
    crlsources.prepared,
    crlsources.enable,
    crlsources.disable,
    crlsources.learn,
):
    command.add_command(_each)


@command.command("list")
@page_options
@pass_options
def list_crls(options: Options, *, limit: int, cursor: str | None) -> None:
    """List the revocation lists."""
    answer = options.client().get("/crls", {"limit": limit, "cursor": cursor})
    if options.json:
        print_answer(answer)
        return
    page = answer.page(CrlView)
    print_table(
        (
            "id",
            say("state", "état"),
            say("number", "numéro"),
            say("entries", "entrées"),
            say("next update", "prochaine mise à jour"),
            say("next fetch", "prochaine requête"),
            say("last error", "dernière erreur"),
        ),
        (
            (
                each.id,
                each.state,
                each.number,
                each.entries,
                each.next_update,
                each.next_fetch_at,
                each.last_error,
            )
            for each in page.items
        ),
        empty=say("No list is kept.", "Aucune liste n’est suivie."),
    )
    print_more(page.next_cursor)


@command.command("show")
@click.argument("crl")
@pass_options
def show(options: Options, *, crl: str) -> None:
    """Show a list's state."""
    _print_list(options, options.client().get(f"/crls/{segment(crl)}"))


@command.command("add")
@click.argument("url", nargs=-1, required=True)
@click.option(
    "--issuer",
    "issuer_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Certificate whose key signs the list, PEM or DER.",
)
@click.option("--delta-url", "delta_urls", multiple=True, help="Where its delta lists are published.")
@click.option(
    "--also-for",
    "also_for",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="Certificate of a further CA that the list speaks of: an indirect list, or a CA with a key for lists.",
)
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait for the first fetch.")
@pass_options
def add(
    options: Options,
    *,
    url: tuple[str, ...],
    issuer_file: str,
    delta_urls: tuple[str, ...],
    also_for: tuple[str, ...],
    wait: bool,
) -> None:
    """Keep the list published at URL, and at further ones where the first fails."""
    issuer = as_pem(issuer_file)
    body = {
        "issuer_certificate": issuer,
        "urls": url,
        "delta_urls": delta_urls,
        "certificate_issuers": [as_pem(path) for path in also_for],
    }
    client = options.client()
    answer = client.post("/crls", body)
    if wait:
        added = answer.decode(CrlView)
        answer = refreshed(client, added.id)
    _print_list(options, answer)


@command.command("refresh")
@click.argument("crl")
@pass_options
def refresh(options: Options, *, crl: str) -> None:
    """Fetch a list now and wait for it."""
    _print_list(options, refreshed(options.client(), crl))


@command.command("remove")
@click.argument("crl")
@pass_options
def remove(options: Options, *, crl: str) -> None:
    """Forget a list."""
    options.client().delete(f"/crls/{segment(crl)}")
    if options.json:
        print_json({"id": crl, "removed": True})
    else:
        note(say(f"{crl} is no longer kept.", f"{crl} n’est plus suivie."))


@command.command("check")
@click.argument("certificate", required=False, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "--issuer",
    "issuer_file",
    type=click.Path(exists=True, dir_okay=False),
    help="With --serial: the issuer's certificate.",
)
@click.option("--serial", help="With --issuer: the serial, hexadecimal.")
@click.option("--policy", help="What to make of ageing lists: a name of `cardd crl policy list`.")
@pass_options
def check(
    options: Options,
    *,
    certificate: str | None,
    issuer_file: str | None,
    serial: str | None,
    policy: str | None,
) -> int:
    """Say whether a CERTIFICATE, or a serial of an issuer, is revoked; exit code 0 only if it may be accepted."""
    client = options.client()
    if certificate is not None and issuer_file is None and serial is None:
        body = {"items": [{"certificate": as_pem(certificate)}], "policy": policy}
        answer = client.post("/status", body)
        shown = answer.json()["items"][0]
        found = answer.decode(_Answers).items[0]
    elif certificate is None and issuer_file is not None and serial is not None:
        query = {"issuer": spki_sha256(as_pem(issuer_file)), "serial": serial, "policy": policy}
        answer = client.get("/status", query)
        shown, found = answer.json(), answer.decode(RevocationAnswer)
    else:
        raise click.UsageError(
            say(
                "Give a certificate, or --issuer and --serial.",
                "Donnez un certificat, ou --issuer et --serial.",
            )
        )
    if options.json:
        print_json(shown)
    else:
        _print_status(found)
    return ExitCode.OK if found.decision is not Decision.REFUSE else ExitCode.FAILED


def _print_list(options: Options, answer: Answer) -> None:
    if options.json:
        print_answer(answer)
        return
    view = answer.decode(CrlView)
    print_facts(
        {
            "id": view.id,
            say("issuer", "émetteur"): view.issuer,
            say("issuer’s key", "clé de l’émetteur"): view.issuer_spki_sha256,
            say("state", "état"): view.state,
            say("addresses", "adresses"): view.urls,
            say("origin", "origine"): view.origin,
            say("number", "numéro"): view.number,
            "delta": view.delta_number,
            "thisUpdate": view.this_update,
            "nextUpdate": view.next_update,
            say("entries", "entrées"): view.entries,
            say("limited to", "limitée à"): view.partial,
            say("fetched", "obtenue"): view.fetched_at,
            say("next fetch", "prochaine requête"): view.next_fetch_at,
            say("last error", "dernière erreur"): view.last_error,
            say("put up with", "toléré"): view.notes,
        }
    )


def _print_status(found: RevocationAnswer) -> None:
    print_facts(
        {
            say("status", "statut"): found.status,
            say("freshness", "fraîcheur"): found.freshness,
            say("decision", "décision"): found.decision,
            say("reason", "motif"): found.reason,
            say("revoked", "révoqué"): found.revoked_at,
            "thisUpdate": found.this_update,
            "nextUpdate": found.next_update,
            say("list", "liste"): found.source,
        }
    )
