"""`cardd retrieve`: finish an order with a revocation code and the terms accepted."""

from pathlib import Path

import click

from cardd.cli.certificate import print_certificate
from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note
from cardd.cli.secrets import code_options, confirm_or_stop, read_code
from cardd.cli.sessions import SessionChoice, card_session, session_options
from cardd.client import segment
from cardd.orders.types import CertificateView, RetrievalRequest


@click.command("retrieve", cls=Command)
@click.argument("order_id", metavar="ORDER")
@click.option(
    "--accept-terms", is_flag=True, help="Accept the terms of use and the certificate policy (/PC)."
)
@click.option("--output", type=click.Path(dir_okay=False), help="Write the certificate here, in PEM.")
@click.option(
    "--without-code",
    is_flag=True,
    help="Choose no revocation code: you and authorised cards alone can revoke the certificate.",
)
@code_options
@session_options
@pass_options
def command(
    options: Options,
    *,
    order_id: str,
    accept_terms: bool,
    output: str | None,
    code_file: str | None,
    code_stdin: bool,
    without_code: bool,
    session: SessionChoice,
) -> None:
    """Retrieve the certificate of ORDER; you choose the revocation code now.

    With --pin-stdin and --code-stdin together, the PIN is the first line and the code the second.
    """
    confirm_or_stop(
        say(
            "Do you accept the terms of use and the certificate policy?",
            "Acceptez-vous les conditions générales d’utilisation et la politique de certification ?",
        ),
        yes=accept_terms,
        option="--accept-terms",
    )
    if without_code and (code_file is not None or code_stdin):
        raise click.UsageError(
            say(
                "--without-code stands for a code: leave --code-file and --code-stdin out.",
                "--without-code tient lieu de code : omettez --code-file et --code-stdin.",
            )
        )
    client = options.client()
    with card_session(client, session) as opened:
        code = None if without_code else read_code(code_file, from_stdin=code_stdin, confirm=True)
        request = RetrievalRequest(
            revocation_code=code, confirmation=code, without_code=without_code, accept_terms=True
        )
        path = f"/orders/{segment(order_id)}/retrieval"
        answer = client.post(path, request, card_session=opened.id)
    if output is not None:
        Path(output).write_text(answer.decode(CertificateView).pem, encoding="ascii")
        note(say(f"Written to {output}.", f"Écrit dans {output}."))
    print_certificate(options, answer)
