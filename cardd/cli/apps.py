"""`cardd apps …`: the applications that were let in."""

import click

from cardd.applications.types import ApplicationView, RenameRequest
from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import note, print_answer, print_facts, print_json, print_more, print_table
from cardd.cli.secrets import confirm_or_stop
from cardd.client import Answer, segment


@click.group("apps", cls=Group)
def command() -> None:
    """Applications that were let in: list, rename, revoke."""


@command.command("list")
@page_options
@pass_options
def list_applications(options: Options, *, limit: int, cursor: str | None) -> None:
    """List the applications; those that ended last are shown too."""
    answer = options.client().get("/applications", {"limit": limit, "cursor": cursor})
    if options.json:
        print_answer(answer)
        return
    page = answer.page(ApplicationView)
    print_table(
        (
            "id",
            say("name", "nom"),
            say("origin", "origine"),
            say("may", "peut"),
            say("state", "état"),
            say("until", "jusqu’au"),
            say("last used", "dernier usage"),
        ),
        (
            (each.id, each.name, each.origin, each.scopes, each.state, each.expires_at, each.last_used_at)
            for each in page.items
        ),
        empty=say("No application was let in.", "Aucune application n’a été admise."),
    )
    print_more(page.next_cursor)


@command.command("show")
@click.argument("application_id", metavar="ID")
@pass_options
def show(options: Options, *, application_id: str) -> None:
    """Show an application."""
    _print_one(options, options.client().get(f"/applications/{segment(application_id)}"))


@command.command("rename")
@click.argument("application_id", metavar="ID")
@click.argument("name")
@pass_options
def rename(options: Options, *, application_id: str, name: str) -> None:
    """Call an application by another name."""
    path = f"/applications/{segment(application_id)}"
    _print_one(options, options.client().put(path, RenameRequest(name=name)))


@command.command("revoke")
@click.argument("application_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@pass_options
def revoke(options: Options, *, application_id: str, yes: bool) -> None:
    """Let an application in no more; its token is worth nothing at once."""
    client, path = options.client(), f"/applications/{segment(application_id)}"
    name = client.get(path).decode(ApplicationView).name
    confirm_or_stop(say(f"Revoke {name}?", f"Révoquer {name} ?"), yes=yes)
    client.delete(path)
    if options.json:
        print_json({"revoked": application_id})
    else:
        note(say(f"{name} is revoked.", f"{name} est révoquée."))


def _print_one(options: Options, answer: Answer) -> None:
    if options.json:
        print_answer(answer)
        return
    print_application(answer.decode(ApplicationView))


def print_application(view: ApplicationView) -> None:
    """Print an application for people."""
    print_facts(
        {
            "id": view.id,
            say("name", "nom"): view.name,
            say("origin", "origine"): view.origin,
            say("may", "peut"): view.scopes,
            say("state", "état"): view.state,
            say("let in", "admise"): view.created_at,
            say("until", "jusqu’au"): view.expires_at or say("revoked", "révocation"),
            say("last used", "dernier usage"): view.last_used_at,
            say("ended", "terminée"): view.ended_at,
        }
    )
