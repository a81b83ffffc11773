"""`cardd renew`: order the successor of a certificate that is still active."""

import click

from cardd.cli.options import Command, Options, pass_options
from cardd.cli.order import key_request, print_order
from cardd.cli.sessions import SessionChoice, card_session, session_options
from cardd.client import segment
from cardd.orders.types import RenewalRequest


@click.command("renew", cls=Command)
@click.argument("serial")
@click.option(
    "--contact", multiple=True, help="Address for notices, instead of the present ones; may be repeated."
)
@click.option(
    "--csr",
    type=click.Path(exists=True, dir_okay=False),
    help="Certify the new key of this CSR (PEM or DER).",
)
@click.option("--token", help="Make the new key on the token of this label.")
@click.option("--algorithm", help="Algorithm of the new key.")
@session_options
@pass_options
def command(
    options: Options,
    *,
    serial: str,
    contact: tuple[str, ...],
    csr: str | None,
    token: str | None,
    algorithm: str | None,
    session: SessionChoice,
) -> None:
    """Order the successor of the certificate SERIAL, under a new key."""
    request = RenewalRequest(key=key_request(csr, token, algorithm), contacts=contact or None)
    client = options.client()
    with card_session(client, session) as opened:
        answer = client.post(f"/certificates/{segment(serial)}/renewal", request, card_session=opened.id)
    print_order(options, answer)
