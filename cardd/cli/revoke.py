"""`cardd revoke`: revoke a certificate, for ever."""

import click

from cardd.cli.certificate import print_certificate
from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.secrets import code_options, confirm_or_stop, read_code
from cardd.client import segment
from cardd.orders.types import RevocationReason, RevocationRequest


@click.command("revoke", cls=Command)
@click.argument("serial")
@click.option(
    "--reason",
    type=click.Choice([each.value for each in RevocationReason]),
    default=RevocationReason.UNSPECIFIED.value,
    show_default=True,
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--card-session", help="Revoke as the card of this session.")
@code_options
@pass_options
def command(
    options: Options,
    *,
    serial: str,
    reason: str,
    yes: bool,
    card_session: str | None,
    code_file: str | None,
    code_stdin: bool,
) -> None:
    """Revoke the certificate SERIAL; this cannot be undone. The owner needs no revocation code."""
    confirm_or_stop(
        say(f"Revoke certificate {serial}, for ever?", f"Révoquer le certificat {serial}, définitivement ?"),
        yes=yes,
    )
    given_code = code_file is not None or code_stdin
    code = read_code(code_file, from_stdin=code_stdin, confirm=False) if given_code else None
    request = RevocationRequest(reason=RevocationReason(reason), revocation_code=code)
    path = f"/certificates/{segment(serial)}/revocation"
    print_certificate(options, options.client().post(path, request, card_session=card_session))
