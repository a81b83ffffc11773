"""`cardd tls …`: the authority whose certificate the daemon presents by TLS, for who wants to import it."""

import click

from cardd.cli.language import say
from cardd.cli.options import Group, Options, pass_options
from cardd.cli.output import note, print_facts, print_json
from cardd.errors import NotFoundError
from cardd.text import Text

#: Below the state directory, where the web service leaves it.
_CA_FILE = ("tls", "ca.pem")


@click.group("tls", cls=Group)
def command() -> None:
    """TLS of the web service, where `web.tls` is set."""


@command.command("ca")
@pass_options
def ca(options: Options) -> None:
    """Print where the authority's certificate is; nothing is imported anywhere.

    Its key was destroyed when its one certificate was made. Another authority takes its place a month before
    that one ends, and has to be imported anew.
    """
    from cryptography import x509  # noqa: PLC0415  slow to import, and not needed by other commands
    from cryptography.hazmat.primitives import hashes  # noqa: PLC0415

    settings = options.settings()
    path = settings.state.joinpath(*_CA_FILE)
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        raise NotFoundError(
            Text(f"There is no certificate in {path}.", f"Il n’y a pas de certificat dans {path}."),
            advice=Text(
                "Set `web.tls = true` (CARDD_WEB__TLS=true) and start the daemon.",
                "Réglez `web.tls = true` (CARDD_WEB__TLS=true) et lancez le démon.",
            ),
        ) from None
    fingerprint = certificate.fingerprint(hashes.SHA256()).hex()
    if options.json:
        print_json({"path": str(path), "sha256": fingerprint, "not_after": certificate.not_valid_after_utc})
        return
    click.echo(path)
    print_facts({"SHA-256": fingerprint, say("until", "jusqu’au"): certificate.not_valid_after_utc})
    note(
        say(
            f"The daemon answers at https://localhost:{settings.web.tls_port}. "
            "Import this file where that is to be trusted: your browser's authorities, or curl --cacert.",
            f"Le démon répond à https://localhost:{settings.web.tls_port}. "
            "Importez ce fichier là où cela doit être reconnu : autorités du navigateur, ou curl --cacert.",
        )
    )
