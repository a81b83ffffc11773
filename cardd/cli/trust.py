"""`cardd trust`: who is trusted and why, or the bundle for an application."""

from pathlib import Path

import click

from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note, print_answer, print_bytes, print_json, print_table
from cardd.client.revocation import TRUST_FORMATS, TrustAnswer
from cardd.revocation.domains import JAVA_PASSWORD, TrustScope


@click.command("trust", cls=Command)
@click.option(
    "--format", "form", type=click.Choice(list(TRUST_FORMATS)), help="Write the bundle in this format."
)
@click.option(
    "--scope",
    type=click.Choice([each.value for each in TrustScope]),
    default="test",
    show_default=True,
    help="What the bundle is for; test and production are never in one.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False, path_type=Path), help="File to write the bundle to."
)
@pass_options
def command(options: Options, *, form: str | None, scope: str, output: Path | None) -> None:
    """List the authorities: accepted, known by name only, retired, and why; or write the accepted ones as a bundle."""
    if form is None:
        _show(options)
        return
    if output is None and options.json:
        raise click.UsageError(say("--json needs --output here.", "--json demande ici --output."))
    content = options.client().get("/trust", {"scope": scope}, accept=TRUST_FORMATS[form]).body
    if output is None:
        print_bytes(content)
        return
    output.write_bytes(content)
    if options.json:
        print_json({"scope": scope, "format": form, "file": str(output), "bytes": len(content)})
    else:
        note(say(f"Written to {output}.", f"Écrit dans {output}."))
    if form == "java" and not options.json:
        note(
            say(
                f"Its password is Java's own: {JAVA_PASSWORD}.",
                f"Mot de passe, celui de Java : {JAVA_PASSWORD}.",
            )
        )


def _show(options: Options) -> None:
    answer = options.client().get("/trust")
    if options.json:
        print_answer(answer)
        return
    print_table(
        (
            "PKI",
            say("authority", "autorité"),
            say("state", "état"),
            say("until", "jusqu’au"),
            say("why", "motif"),
        ),
        (
            (each.domain, each.name, each.state, each.not_after, each.reason)
            for each in answer.decode(TrustAnswer).authorities
        ),
    )
