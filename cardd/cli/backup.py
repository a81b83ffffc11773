"""`cardd backup`: an encrypted backup of the whole state, made by the running daemon."""

import os
from pathlib import Path

import click

from cardd.backup.types import BackupView
from cardd.cli.language import say, terminal_language
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note, print_answer, print_facts, print_table
from cardd.client import Client, segment


@click.command("backup", cls=Command)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    help="Who can open it, beside those of the settings: age1… or an SSH public key; may be repeated.",
)
@click.option(
    "--recipients-file",
    type=click.Path(dir_okay=False, exists=True),
    help="The same, one a line; lines that begin with # are left out.",
)
@click.option(
    "--new-identity",
    type=click.Path(dir_okay=False),
    help="Write a new age identity into this file (0600), and let it open the backup. Keep it on another machine.",
)
@click.option(
    "--output", type=click.Path(dir_okay=False), help="Write the backup here too; it stays with the daemon."
)
@click.option("--list", "only_list", is_flag=True, help="List the backups that the daemon keeps; make none.")
@pass_options
def command(
    options: Options,
    *,
    recipients: tuple[str, ...],
    recipients_file: str | None,
    new_identity: str | None,
    output: str | None,
    only_list: bool,
) -> None:
    """Make a backup of the whole state while the daemon works: database, tokens, PINs, settings left out.

    It is encrypted to its recipients (age-encryption.org). Who has it and an identity has the keys of software tokens;
    keys inside a device are not in it.
    """
    client = options.client()
    if only_list:
        _print_list(options, client)
        return
    wanted = [*recipients, *(_lines(recipients_file) if recipients_file else ())]
    if new_identity:
        wanted.append(_write_identity(Path(new_identity)))
    answer = client.post("/backups", {"recipients": wanted})
    made = answer.decode(BackupView)
    if output:
        _fetch(client, made.name, Path(output))
    if options.json:
        print_answer(answer)
        return
    _print_backup(made, output)


def _print_list(options: Options, client: Client) -> None:
    answer = client.get("/backups", {"limit": 500})
    if options.json:
        print_answer(answer)
        return
    print_table(
        (say("name", "nom"), say("made", "faite"), say("bytes", "octets"), "SHA-256"),
        ((each.name, each.made_at, each.size, each.sha256) for each in answer.page(BackupView).items),
    )


def _print_backup(made: BackupView, output: str | None) -> None:
    print_facts(
        {
            say("backup", "sauvegarde"): made.name,
            say("made", "faite"): made.made_at,
            say("bytes", "octets"): made.size,
            "SHA-256": made.sha256,
            say("recipients", "destinataires"): made.recipients,
            say("written to", "écrite dans"): output,
        }
    )
    for token in made.tokens:
        note(f"{token.label}: {token.note.in_language(terminal_language())}")
    for sentence in made.left_out:
        note(sentence.in_language(terminal_language()))


def _lines(path: str) -> list[str]:
    lines = (line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _write_identity(path: Path) -> str:
    """Make an identity and return its recipient; an existing file is never replaced."""
    from cardd.backup.archive import new_identity  # noqa: PLC0415  slow to import, and rarely needed

    text, recipient = new_identity()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise click.UsageError(
            say(
                f"{path} cannot be written: {error.strerror}.",
                f"{path} n’est pas inscriptible : {error.strerror}.",
            )
        ) from None
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return recipient


def _fetch(client: Client, name: str, path: Path) -> None:
    """Write a backup to a file that is there whole or not at all."""
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as file:
            unfinished.chmod(0o600)
            client.download(f"/backups/{segment(name)}", file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise click.UsageError(
            say(
                f"{path} cannot be written: {error.strerror}.",
                f"{path} n’est pas inscriptible : {error.strerror}.",
            )
        ) from None
    finally:
        unfinished.unlink(missing_ok=True)
