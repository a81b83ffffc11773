"""`cardd verify FILE`: whether a certificate may be relied on, now or at a past moment."""

from datetime import datetime
from pathlib import Path

import click

from cardd.cli.exits import ExitCode
from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import print_answer, print_facts, print_table, printable
from cardd.client.revocation import ValidationQuestion, validation_request
from cardd.revocation.findings import Severity
from cardd.revocation.verdicts import CertificateUse, Result, RevocationMode, ValidationPolicy, ValidationView

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("verify", cls=Command)
@click.argument("file", type=_FILE)
@click.option("--chain", type=_FILE, multiple=True, help="File with CA certificates that may be on the path.")
@click.option("--crl", type=_FILE, multiple=True, help="Revocation list to decide on, instead of those kept.")
@click.option("--anchor", type=_FILE, multiple=True, help="File with a further trust anchor.")
@click.option("--at", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"]), help="Moment to verify for.")
@click.option(
    "--use", type=click.Choice([each.value for each in CertificateUse]), help="What it is to be used for."
)
@click.option(
    "--revocation",
    type=click.Choice([each.value for each in RevocationMode]),
    default="required",
    show_default=True,
    help="How much must be known of revocation.",
)
@click.option("--production", is_flag=True, help="Accept IGC-Santé of production instead of the test PKIs.")
@pass_options
def command(
    options: Options,
    *,
    file: Path,
    chain: tuple[Path, ...],
    crl: tuple[Path, ...],
    anchor: tuple[Path, ...],
    at: datetime | None,
    use: str | None,
    revocation: str,
    production: bool,
) -> int:
    """Validate the certificate in FILE (PEM, DER or a chain); exit code 6 unless it is valid."""
    policy = ValidationPolicy(
        accept=("igc_sante",) if production else ("local", "igc_sante_test"),
        revocation=RevocationMode(revocation),
        use=CertificateUse(use) if use is not None else None,
    )
    question = ValidationQuestion(
        file.read_bytes(),
        intermediates=[each.read_bytes() for each in chain],
        crls=[each.read_bytes() for each in crl],
        at=at.astimezone() if at is not None else None,
        policy=policy,
        anchors=[each.read_bytes() for each in anchor],
    )
    answer = options.client().post("/validation", validation_request(question))
    view = answer.decode(ValidationView)
    if options.json:
        print_answer(answer)
    else:
        _print(view)
    return ExitCode.OK if view.result is Result.VALID else ExitCode.CHECK_FAILED


def _print(view: ValidationView) -> None:
    results = {
        Result.VALID: say("valid", "valide"),
        Result.INVALID: say("INVALID", "INVALIDE"),
        Result.REVOKED: say("REVOKED", "RÉVOQUÉ"),
        Result.INDETERMINATE: say("INDETERMINATE", "INDÉTERMINÉ"),
    }
    print_facts(
        {say("result", "résultat"): results[view.result], say("at", "au"): view.at, "PKI": view.domain}
    )
    click.echo()
    print_table(
        (say("path", "chaîne"), say("until", "jusqu’au"), say("status", "statut"), say("data", "données")),
        (
            (
                each.subject,
                each.not_after,
                each.revocation.status if each.revocation else None,
                each.revocation.freshness if each.revocation else None,
            )
            for each in view.path
        ),
    )
    severities = {
        Severity.ERROR: say("error:", "erreur :"),
        Severity.GAP: say("missing:", "manque :"),
        Severity.WARNING: say("warning:", "avertissement :"),
        Severity.INFO: say("note:", "note :"),
    }
    for finding in view.findings:
        click.echo(f"\n{severities[finding.severity]} {printable(finding.detail)}")
        if finding.advice:
            click.echo(f"  {printable(finding.advice)}")
