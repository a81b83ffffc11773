"""`cardd key …`: where the keys are, what was found of them, and the evidence for it."""

from importlib import import_module
from pathlib import Path

import click

from cardd.cli.language import say
from cardd.cli.options import Group, Options, page_options, pass_options
from cardd.cli.output import note, print_answer, print_bytes, print_facts, print_json, print_more, print_table
from cardd.client import segment
from cardd.custody.types import INSTANCE_PEM, EvidenceView, KeyStatement, KeyView

#: Commands of the group in modules of their own, imported when they are called.
_ELSEWHERE = {"prove": "keyproof", "block": "keyblock"}


class _KeyGroup(Group):
    """Finds the commands of this module and of others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every name."""
        return [*super().list_commands(ctx), *_ELSEWHERE]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command where it has its own."""
        if cmd_name not in _ELSEWHERE:
            return super().get_command(ctx, cmd_name)
        found: click.Command = getattr(import_module(f"cardd.cli.{_ELSEWHERE[cmd_name]}"), cmd_name)
        return found


@click.group("key", cls=_KeyGroup)
def command() -> None:
    """Where the keys are, what was found of them, and the evidence; prove and block keys."""


@command.command("list")
@click.option("--check", is_flag=True, help="Check every key first.")
@page_options
@pass_options
def list_keys(options: Options, *, check: bool, limit: int, cursor: str | None) -> None:
    """List the keys with their holders, levels of custody and findings."""
    client = options.client()
    if check:
        client.post("/keys/check", {})
    answer = client.get("/keys", {"limit": limit, "cursor": cursor})
    if options.json:
        print_answer(answer)
        return
    page = answer.page(KeyView)
    ready = say("none yet: made ready", "aucun : prête d’avance")
    print_table(
        (
            "SPKI SHA-256",
            say("custody", "garde"),
            say("holder", "titulaire"),
            say("token", "jeton"),
            say("certificate", "certificat"),
            say("evidence", "attestation"),
            say("findings", "constats"),
        ),
        (
            (
                each.spki_sha256 or each.id,
                each.level,
                f"{each.holder_kind} {each.holder}" if each.holder else ready if each.ready else None,
                each.token,
                each.certificates,
                each.evidence,
                [" ".join((found.finding.value, *found.details)) for found in each.findings],
            )
            for each in page.items
        ),
        empty=say("No key.", "Aucune clé."),
    )
    print_more(page.next_cursor)


@command.command("evidence")
@click.argument("key", required=False)
@click.option("--output", type=click.Path(dir_okay=False), help="Write the statement (JWS) to this file.")
@click.option(
    "--verify",
    "statement_file",
    type=click.Path(dir_okay=False, exists=True),
    help="Check the statement in this file instead, without a daemon.",
)
@click.option(
    "--instance-key",
    type=click.Path(dir_okay=False, exists=True),
    help="Public key of the instance to believe; otherwise instance.pem of the state directory.",
)
@pass_options
def evidence(
    options: Options,
    *,
    key: str | None,
    output: str | None,
    statement_file: str | None,
    instance_key: str | None,
) -> None:
    """Show the signed statement of where KEY (its SPKI SHA-256) was made, or check one."""
    if (key is None) == (statement_file is None):
        raise click.UsageError(say("Give either KEY or --verify.", "Donnez soit KEY, soit --verify."))
    if statement_file is not None:
        public = Path(instance_key) if instance_key else options.settings().state / INSTANCE_PEM
        if not public.is_file():
            raise click.UsageError(
                say(f"There is no instance key in {public}.", f"Aucune clé d’instance dans {public}.")
            )
        from cardd.custody.evidence import read_instance_key, verify  # noqa: PLC0415  not needed otherwise

        believed = read_instance_key(public.read_bytes())
        _show(options, verify(Path(statement_file).read_text(encoding="ascii", errors="replace"), believed))
        note(say("The statement is valid.", "L’attestation est valide."))
        return
    answer = options.client().get(f"/keys/{segment(key or '')}/evidence")
    view = answer.decode(EvidenceView)
    if output is not None:
        Path(output).write_text(view.jws + "\n", encoding="ascii")
        note(say(f"Written to {output}.", f"Écrit dans {output}."))
    elif options.json:
        print_answer(answer)
    else:
        _show(options, view.statement)


@command.command("csr")
@click.argument("key")
@pass_options
def csr(options: Options, *, key: str) -> None:
    """Print a certification request signed by KEY on its token, with the evidence of where it is."""
    print_bytes(options.client().get(f"/keys/{segment(key)}/csr", accept="application/x-pem-file").body)


def _show(options: Options, statement: KeyStatement) -> None:
    if options.json:
        print_json(statement)
        return
    attributes = statement.attributes
    held = [name for name in attributes.__struct_fields__ if getattr(attributes, name) is True]
    print_facts(
        {
            "SPKI SHA-256": statement.spki_sha256,
            say("algorithm", "algorithme"): statement.algorithm,
            say("custody", "garde"): statement.level,
            say("token", "jeton"): statement.token_serial,
            "module": statement.module,
            say("machine", "machine"): statement.machine,
            "instance": statement.instance,
            say("attributes set", "attributs vrais"): held,
            say("made by", "créée par"): attributes.key_gen_mechanism,
            say("stated", "attesté"): statement.at,
        }
    )
