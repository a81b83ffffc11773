"""`cardd machine …`: the machines that share a database, and which of them may have certificates signed."""

import click

from cardd.cli.language import say
from cardd.cli.options import Group, Options, pass_options
from cardd.cli.output import print_answer, print_facts, print_table
from cardd.client import Answer, segment
from cardd.machines.types import MachineView


@click.group("machine", cls=Group)
def command() -> None:
    """The machines that share a database."""


@command.command("list")
@pass_options
def list_machines(options: Options) -> None:
    """List the machines, with what each shows to the others."""
    answer = options.client().get("/machines")
    if options.json:
        print_answer(answer)
        return
    print_table(
        ("id", say("name", "nom"), say("CA keys", "clés d’AC"), say("enrolled", "inscrite"), say("signs at", "signe à"),
         say("seen", "vue"), say("certificate (SHA-256)", "certificat (SHA-256)")),
        (
            (each.id, f"{each.name} *" if each.here else each.name, _yes(each.holds_ca), _yes(each.enrolled),
             each.address, f"{each.seen_at:%Y-%m-%d %H:%M}", each.certificate_sha256)
            for each in answer.page(MachineView).items
        ),
        empty=say("This state is not shared.", "Cet état n’est pas partagé."),
    )  # fmt: skip


@command.command("enrol")
@click.argument("machine")
@pass_options
def enrol(options: Options, *, machine: str) -> None:
    """Let MACHINE have certificates signed; compare the certificate's hash with what `machine list` shows there."""
    _print_one(options, options.client().post(f"/machines/{segment(machine)}/enrolment"))


@command.command("withdraw")
@click.argument("machine")
@pass_options
def withdraw(options: Options, *, machine: str) -> None:
    """Take the enrolment of MACHINE back: nothing is signed for it any more."""
    _print_one(options, options.client().post(f"/machines/{segment(machine)}/withdrawal"))


def _print_one(options: Options, answer: Answer) -> None:
    if options.json:
        print_answer(answer)
        return
    view = answer.decode(MachineView)
    print_facts(
        {
            "id": view.id,
            say("name", "nom"): view.name,
            say("enrolled", "inscrite"): _yes(view.enrolled),
            say("certificate (SHA-256)", "certificat (SHA-256)"): view.certificate_sha256,
        }
    )


def _yes(value: bool) -> str:  # noqa: FBT001 (a predicate of one value)
    return say("yes", "oui") if value else say("no", "non")
