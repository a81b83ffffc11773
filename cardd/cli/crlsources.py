"""`cardd crl prepared`, `enable`, `disable` and `learn`: lists that are known already, or that a certificate names."""

import click
import msgspec

from cardd.cli.language import say
from cardd.cli.options import Command, Options, pass_options
from cardd.cli.output import note, print_answer, print_json, print_table
from cardd.cli.pemfiles import as_pem
from cardd.client import segment
from cardd.errors import NotFoundError
from cardd.revocation.types import CrlView, PreparedList
from cardd.text import Text

#: All the prepared lists of IGC-Santé TEST whose CA's certificate is held.
GROUP = "igc-sante"


class _Prepared(msgspec.Struct, frozen=True):
    items: tuple[PreparedList, ...]


class _Learnt(msgspec.Struct, frozen=True):
    items: tuple[CrlView, ...]


@click.command("prepared", cls=Command)
@pass_options
def prepared(options: Options) -> None:
    """List the lists that are prepared and off: those that ANS publishes for IGC-Santé TEST."""
    answer = options.client().get("/prepared-crls")
    if options.json:
        print_answer(answer)
        return
    print_table(
        (
            say("name", "nom"),
            say("state", "état"),
            say("CA's certificate", "certificat de l’AC"),
            say("authority", "autorité"),
            say("address", "adresse"),
        ),
        (
            (
                each.name,
                each.crl.state if each.crl is not None else say("off", "désactivée"),
                say("held", "détenu") if each.held else say("not held", "non détenu"),
                each.authority,
                each.url,
            )
            for each in answer.decode(_Prepared).items
        ),
    )


@click.command("enable", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="igc-sante | NAME...")
@pass_options
def enable(options: Options, *, names: tuple[str, ...]) -> None:
    """Keep prepared lists: `igc-sante` for all whose CA's certificate is held, or each by its name."""
    client = options.client()
    chosen = _chosen(options, names, held=True)
    views = [client.put(f"/prepared-crls/{segment(name)}", {}).decode(CrlView) for name in chosen]
    if options.json:
        print_json({"items": views})
        return
    for view in views:
        note(say(f"{view.id} is kept.", f"{view.id} est suivie."))


@click.command("disable", cls=Command)
@click.argument("names", nargs=-1, required=True, metavar="igc-sante | NAME...")
@pass_options
def disable(options: Options, *, names: tuple[str, ...]) -> None:
    """Forget prepared lists: `igc-sante` for all that are kept, or each by its name."""
    chosen = _chosen(options, names, held=False)
    for name in chosen:
        options.client().delete(f"/prepared-crls/{segment(name)}")
    if options.json:
        print_json({"removed": chosen})
        return
    for name in chosen:
        note(say(f"{name} is no longer kept.", f"{name} n’est plus suivie."))


@click.command("learn", cls=Command)
@click.argument("certificate", type=click.Path(exists=True, dir_okay=False))
@pass_options
def learn(options: Options, *, certificate: str) -> None:
    """Keep the lists that a CERTIFICATE and the CAs above it name, where its issuer is known here."""
    answer = options.client().post("/learned-crls", {"certificate": as_pem(certificate)})
    if options.json:
        print_answer(answer)
        return
    found = answer.decode(_Learnt).items
    if not found:
        note(
            say(
                "Nothing new: its issuer is not known here, or its lists are kept already.",
                "Rien de nouveau : son émetteur n’est pas connu ici, ou ses listes sont déjà suivies.",
            )
        )
    for view in found:
        note(say(f"{view.id} is kept.", f"{view.id} est suivie.") + f" {view.urls[0]}")


def _chosen(options: Options, names: tuple[str, ...], *, held: bool) -> list[str]:
    """Return the names meant: of the group, those whose CA is held, or those that are kept."""
    if GROUP not in names:
        return list(names)
    known = options.client().get("/prepared-crls").decode(_Prepared).items
    of_group = [each.name for each in known if (each.held if held else each.crl is not None)]
    if not of_group:
        raise NotFoundError(Text("None of them is kept.", "Aucune d’elles n’est suivie."))
    return of_group
