"""`/demander`: structure and offer, usage, fields; only what the card in the session is authorised for."""

from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from cardd.cards.sessions import CardSession
from cardd.errors import CarddError, InvalidFieldsError
from cardd.orders.forms import check_order
from cardd.orders.offers import OFFERS, USAGE_LABELS, UsageTerms, algorithms_of, terms_of
from cardd.orders.types import Offer, OrderRequest, StructureView
from cardd.text import Text
from cardd.vocabulary import PROFESSION_TITLES, Usage
from cardd_webservice.ihm.requests import request_of
from cardd_webservice.ihm.visit import Visit, problems_of, sent, shown
from cardd_webservice.services import CardSessions

#: From so many choices on, a search is offered.
_MANY = 8


@dataclass(frozen=True)
class Choice:
    """Something that the card may order: certificates of an offer for a structure."""

    structure: StructureView
    offer: Offer
    usages: tuple[Usage, ...]


async def choices_of(sessions: CardSessions, card: CardSession) -> tuple[Choice, ...]:
    """Return what a card session is authorised for, each structure and offer once."""
    found: dict[tuple[str, Offer], Choice] = {}
    for habilitation in await sessions.authorised(card):
        for structure in habilitation.structures:
            for covered in habilitation.offers:
                known = found.get((structure.id, covered.offer))
                usages = (*(known.usages if known else ()), *covered.usages)
                choice = Choice(structure, covered.offer, tuple(dict.fromkeys(usages)))
                found[structure.id, covered.offer] = choice
    return tuple(found.values())


async def ask(visit: Visit) -> web.StreamResponse:
    """Show the step that the query has come to."""
    if visit.card is None:
        return await _no_card(visit)
    choices = await choices_of(visit.services.sessions, visit.card)
    values = {name: visit.query(name) for name in ("structure", "offer", "usage")}
    chosen = _chosen(choices, values["structure"], values["offer"])
    if chosen is None:
        sought = visit.query("q").casefold().split()
        listed = [each for each in choices if _is_about(each, sought)]
        return visit.page(
            "order_offer.html", choices=listed, offers=OFFERS, many=len(choices) > _MANY, any=bool(choices)
        )
    terms = _terms(chosen, values["usage"])
    if terms is None:
        return visit.page("order_usage.html", chosen=chosen, offers=OFFERS, usage_labels=USAGE_LABELS)
    return _fields(visit, chosen, terms)


async def place(visit: Visit) -> web.StreamResponse:
    """Place the order; on error the form comes back as it was, with what to correct."""
    if visit.card is None:
        return await _no_card(visit)
    card, form = visit.card, visit.form
    choices = await choices_of(visit.services.sessions, card)
    chosen = _chosen(choices, form.text("structure"), form.text("offer"))
    terms = _terms(chosen, form.text("usage")) if chosen else None
    if chosen is None or terms is None:
        return visit.redirect("/demander")

    async def perform() -> str:
        order = await visit.services.orders.create(_request(visit, terms), card)
        return f"/retirer/{order.id}"

    try:
        location = await visit.once(perform)
    except CarddError as error:
        return _fields(visit, chosen, terms, error)
    return visit.redirect(
        location,
        Text(
            "The order is placed and its key is ready: retrieve its certificate now, or later.",
            "La commande est passée et sa clé est prête : retirez son certificat maintenant, ou plus tard.",
        ),
    )


async def check(visit: Visit) -> web.StreamResponse:
    """Tell a form that is being typed what is wrong with it, by the rules of the order itself."""
    form = visit.form
    try:
        terms = terms_of(Offer(form.text("offer")), Usage(form.text("usage")))
        if terms is not None:
            check_order(_request(visit, terms))
        problems = problems_of(None, visit.language)
    except InvalidFieldsError as error:
        problems = problems_of(error, visit.language)
    except ValueError:
        problems = problems_of(None, visit.language)
    return web.json_response(
        {"problems": problems}, dumps=lambda value: msgspec.json.encode(value).decode(),
        headers={"Cache-Control": "no-store"},
    )  # fmt: skip


def _fields(
    visit: Visit, chosen: Choice, terms: UsageTerms, error: CarddError | None = None
) -> web.StreamResponse:
    return visit.page(
        "order_fields.html", chosen=chosen, terms=terms, offers=OFFERS, usage_labels=USAGE_LABELS,
        algorithms=algorithms_of(chosen.offer, terms.usage), professions=PROFESSION_TITLES, error=error,
    )  # fmt: skip


async def _no_card(visit: Visit) -> web.StreamResponse:
    present = [card for card in await visit.services.cards.list() if card.present and not card.opposed]
    return visit.page("no_card.html", present=present, back=visit.request.path_qs)


def _chosen(choices: tuple[Choice, ...], structure: str, offer: str) -> Choice | None:
    found = [each for each in choices if each.structure.id == structure and each.offer.value == offer]
    return found[0] if found else None


def _terms(chosen: Choice, usage: str) -> UsageTerms | None:
    found = [each for each in chosen.usages if each.value == usage]
    return terms_of(chosen.offer, found[0]) if found else None


def _is_about(choice: Choice, sought: list[str]) -> bool:
    text = f"{choice.structure.name} {choice.structure.id} {choice.offer.value}".casefold()
    return all(word in text for word in sought)


def _request(visit: Visit, terms: UsageTerms) -> OrderRequest:
    form = visit.form
    kinds = {field.name: field for field in terms.fields}
    values: dict[str, Any] = {name: form.text(name) for name in ("offer", "usage", "structure")}
    for name in ("service", "email"):
        values[name] = form.optional(name) if name in kinds else None
    values["fqdn"] = form.lines("fqdn") if "fqdn" in kinds else None
    if "person" in kinds:
        values["person"] = _person(visit, kinds["person"].members)
    by_csr = form.text("source") == "csr"
    key = {
        "source": "csr" if by_csr else "token",
        "csr": form.optional("csr") if by_csr else None,
        "algorithm": None if by_csr else form.optional("algorithm"),
    }
    return request_of(
        OrderRequest,
        **values,
        contacts=form.lines("contacts"),
        key={name: value for name, value in key.items() if value is not None},
    )


def _person(visit: Visit, members: tuple[str, ...]) -> dict[str, Any]:
    given: dict[str, Any] = {}
    for name in ("last_name", "first_name", *members):
        value = visit.form.optional(f"person.{name}")
        if value is not None:
            given[name] = int(value) if name == "profession" and value.isdecimal() else value
    return given


ROUTES = (
    shown("/demander", ask),
    sent("/demander", place),
    sent("/demander/controle", check),
)
