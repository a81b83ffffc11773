"""`cardd pair …`: applications that ask to be let in, and the owner's decision."""

import click

from cardd.applications.types import ApplicationView, ApprovalRequest, PairingView, Scope
from cardd.cli.apps import print_application
from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import note, print_answer, print_json, print_more, print_table
from cardd.client import Client, segment


@click.group("pair", cls=Group)
def command() -> None:
    """Applications that ask to be let in: compare the code, allow or deny."""


@command.command("list")
@page_options
@pass_options
def list_pairings(options: Options, *, limit: int, cursor: str | None) -> None:
    """List what waits for your decision."""
    answer = options.client().get("/pairings", {"limit": limit, "cursor": cursor})
    if options.json:
        print_answer(answer)
        return
    page = answer.page(PairingView)
    print_table(
        (
            say("code", "code"),
            say("name", "nom"),
            say("origin", "origine"),
            say("asks to", "demande à"),
            say("until", "jusqu’à"),
            "id",
        ),
        ((each.code, each.name, each.origin, each.scopes, each.expires_at, each.id) for each in page.items),
        empty=say("No application asks.", "Aucune application ne demande."),
    )
    print_more(page.next_cursor)


@command.command("allow")
@click.argument("code")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="Grant this of what was asked for; may be given several times. Default: all.",
)
@click.option("--days", type=click.IntRange(1, 3650), default=90, show_default=True, help="For how long.")
@click.option("--forever", is_flag=True, help="Until it is revoked, instead of --days.")
@pass_options
def allow(options: Options, *, code: str, scopes: tuple[str, ...], days: int, forever: bool) -> None:
    """Let in the application that shows CODE, the six digits on its screen."""
    client = options.client()
    request = ApprovalRequest(
        code=code,
        scopes=tuple(map(Scope, scopes)) or None,
        days=None if forever else days,
    )
    answer = client.post(f"/pairings/{_asking(client, code).id}/approval", request)
    if options.json:
        print_answer(answer)
        return
    print_application(answer.decode(ApplicationView))


@command.command("deny")
@click.argument("code")
@pass_options
def deny(options: Options, *, code: str) -> None:
    """Turn the application away that shows CODE; its id does as well."""
    client = options.client()
    pairing = _asking(client, code)
    client.post(f"/pairings/{segment(pairing.id)}/denial")
    if options.json:
        print_json({"denied": pairing.id})
    else:
        note(say(f"{pairing.name} is turned away.", f"{pairing.name} est refusée."))


def _asking(client: Client, code: str) -> PairingView:
    """Return the application that asks under a code or an id; raises `click.UsageError`."""
    wanted = "".join(code.split())
    for each in client.get("/pairings").page(PairingView).items:
        if wanted in (each.code, each.id):
            return each
    raise click.UsageError(
        say(
            f"No application that asks shows {code}; `cardd pair list` shows those that ask.",
            f"Aucune application qui demande n’affiche {code} ; « cardd pair list » les liste.",
        )
    )
