"""`cardd audit …`: the journal of every state change, and the proof that nobody changed it."""

import click

from cardd.audit import ChainReport, JournalEntry
from cardd.cli.exits import ExitCode
from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import print_answer, print_facts, print_more, print_table


@click.group("audit", cls=Group)
def command() -> None:
    """Read and verify the journal."""


@command.command("list")
@page_options
@pass_options
def list_entries(options: Options, *, limit: int, cursor: str | None) -> None:
    """List the lines of the journal."""
    answer = options.client().get("/audit", {"limit": limit, "cursor": cursor})
    if options.json:
        print_answer(answer)
        return
    page = answer.page(JournalEntry)
    print_table(
        (
            "n°",
            say("when", "quand"),
            say("who", "qui"),
            say("what", "quoi"),
            say("subject", "objet"),
            say("details", "détails"),
        ),
        ((each.seq, each.at, each.actor, each.action, each.subject, each.details) for each in page.items),
    )
    print_more(page.next_cursor)


@command.command("verify")
@pass_options
def verify(options: Options) -> int:
    """Check every line against the one before it; exit code 6 when the chain is broken."""
    answer = options.client().get("/audit/verification")
    report = answer.decode(ChainReport)
    if options.json:
        print_answer(answer)
    else:
        print_facts(
            {
                say("journal", "journal"): say("intact", "intact")
                if report.valid
                else say("BROKEN", "ROMPU"),
                say("lines", "lignes"): report.entries,
                say("head", "tête"): report.head,
                say("broken at line", "rompu à la ligne"): report.broken_at,
                say("reason", "motif"): report.reason,
            }
        )
    return ExitCode.OK if report.valid else ExitCode.CHECK_FAILED
