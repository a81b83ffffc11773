"""The offers, their usages and their fields as data: `GET /offers` and the checks of an order come from here.

Offers and usages are those of ANS (arrêté du 4 avril 2022); the fields of PRO and PS are inferred.
"""

from typing import Any, Literal

import msgspec

from cardd.igc.profiles import PROFILES, ProfileName
from cardd.igc.profiles import Offer as ProfileOffer
from cardd.orders.types import FieldView, Offer, OfferView, UsageView
from cardd.text import Text
from cardd.vocabulary import Usage

FieldName = Literal["service", "fqdn", "email", "person", "contacts"]

#: The key algorithm of an order that names none, as in the real profiles.
DEFAULT_ALGORITHM = "rsa_2048"


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """A field of an order form; its check is the rule of the same kind in `forms`."""

    name: FieldName
    kind: Literal["text", "fqdn_list", "email", "person", "email_list"]
    pattern: str | None
    example: Any
    label: Text
    help: Text
    members: tuple[str, ...] = ()
    """Of a person: the members that are required beside the names; the others are refused."""


class UsageTerms(msgspec.Struct, frozen=True, kw_only=True):
    """A usage of an offer; every field is required, and no other is taken."""

    usage: Usage
    fields: tuple[Field, ...]


class OfferTerms(msgspec.Struct, frozen=True, kw_only=True):
    """An offer: what its certificates designate, and its usages."""

    offer: Offer
    label: Text
    designates: Text
    usages: tuple[UsageTerms, ...]


_DNS_PATTERN = (
    r"^(?=.{4,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    r"(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)+$"
)
_EMAIL_PATTERN = r"^[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$"

_SERVICE = Field(
    name="service",
    kind="text",
    pattern=r"^[^\u0000-\u001F\u007F]{1,64}$",
    example="EMA",
    label=Text("Application service", "Service applicatif"),
    help=Text(
        "Becomes the certificate's CN. For the INSi teleservice it must be INSI-AUTO or INSI-MANU.",
        "Devient le CN du certificat. Pour le téléservice INSi, il doit être INSI-AUTO ou INSI-MANU.",
    ),
)
_FQDN = Field(
    name="fqdn",
    kind="fqdn_list",
    pattern=_DNS_PATTERN,
    example=["www.hopital-exemple.fr"],
    label=Text("Server names (FQDN)", "Noms du serveur (FQDN)"),
    help=Text(
        "The first becomes the CN (64 characters at most); all are in subjectAltName. No wildcard.",
        "Le premier devient le CN (64 caractères au plus) ; tous figurent dans subjectAltName. Pas de générique.",
    ),
)
_EMAIL = Field(
    name="email",
    kind="email",
    pattern=_EMAIL_PATTERN,
    example="messagerie@hopital-exemple.fr",
    label=Text("E-mail address", "Adresse électronique"),
    help=Text(
        "Becomes the CN (64 characters at most); the structure must own its domain.",
        "Devient le CN (64 caractères au plus) ; son domaine doit appartenir à la structure.",
    ),
)
_MEMBER = Field(
    name="person",
    kind="person",
    pattern=None,
    example={"last_name": "MARTIN", "first_name": "CHARLES", "register": "CPET0002"},
    label=Text("Person of the structure", "Personne de la structure"),
    help=Text(
        "Names and the person's number in the structure's register.",
        "Nom, prénom et numéro de la personne dans le registre de la structure.",
    ),
    members=("register",),
)
_PROFESSIONAL = Field(
    name="person",
    kind="person",
    pattern=None,
    example={"last_name": "DURAND", "first_name": "ALICE", "rpps": "99700000005", "profession": 10},
    label=Text("Health professional", "Professionnel de santé"),
    help=Text(
        "Names, RPPS number (test numbers begin with 99700) and code of the profession.",
        "Nom, prénom, numéro RPPS (ceux de test commencent par 99700) et code de la profession.",
    ),
    members=("rpps", "profession"),
)
_CONTACTS = Field(
    name="contacts",
    kind="email_list",
    pattern=_EMAIL_PATTERN,
    example=["exploitation@hopital-exemple.fr", "astreinte@hopital-exemple.fr"],
    label=Text("Contacts for notices", "Contacts pour les avis"),
    help=Text(
        "Told 60 days before the end. Name several: a dead address means an expiry nobody hears of.",
        "Prévenus 60 jours avant la fin. Indiquez-en plusieurs : une adresse morte, et l’expiration passe inaperçue.",
    ),
)

USAGE_LABELS: dict[Usage, Text] = {
    Usage.AUTH_CLI: Text("Client authentication", "Authentification client"),
    Usage.SIGN: Text("Signature", "Signature (cachet)"),
    Usage.CONF: Text("Confidentiality", "Confidentialité (chiffrement)"),
    Usage.SSL_SERV: Text("TLS server", "Serveur TLS"),
    Usage.SMIME: Text("S/MIME messaging", "Messagerie S/MIME"),
}


def _terms(field: Field, *usages: Usage) -> tuple[UsageTerms, ...]:
    return tuple(UsageTerms(usage=usage, fields=(field, _CONTACTS)) for usage in usages)


OFFERS: dict[Offer, OfferTerms] = {
    terms.offer: terms
    for terms in (
        OfferTerms(
            offer=Offer.ORG,
            label=Text("Organisation", "Organisation"),
            designates=Text(
                "A service or a legal person of a structure",
                "Un service ou une personne morale d’une structure",
            ),
            usages=_terms(_SERVICE, Usage.AUTH_CLI, Usage.SIGN, Usage.CONF),
        ),
        OfferTerms(
            offer=Offer.SERV,
            label=Text("Server", "Serveur"),
            designates=Text(
                "A server by its names, or an e-mail address",
                "Un serveur par ses noms, ou une adresse électronique",
            ),
            usages=(
                *_terms(_FQDN, Usage.SSL_SERV),
                *_terms(_EMAIL, Usage.SMIME),
                *_terms(_FQDN, Usage.SIGN, Usage.CONF),
            ),
        ),
        OfferTerms(
            offer=Offer.PRO,
            label=Text("Professional of a structure", "Professionnel d’une structure"),
            designates=Text("A natural person of a structure", "Une personne physique d’une structure"),
            usages=_terms(_MEMBER, Usage.AUTH_CLI, Usage.SIGN),
        ),
        OfferTerms(
            offer=Offer.PS,
            label=Text("Health professional", "Professionnel de santé"),
            designates=Text(
                "A health professional by RPPS number", "Un professionnel de santé par son numéro RPPS"
            ),
            usages=_terms(_PROFESSIONAL, Usage.AUTH_CLI, Usage.SIGN),
        ),
    )
}


def usages_of(offer: Offer) -> tuple[Usage, ...]:
    """Return the usages that an offer has."""
    return tuple(terms.usage for terms in OFFERS[offer].usages)


def terms_of(offer: Offer, usage: Usage) -> UsageTerms | None:
    """Return the fields of an offer's usage, or None where the offer has no such usage."""
    return next((terms for terms in OFFERS[offer].usages if terms.usage is usage), None)


def profile_name(offer: Offer, usage: Usage) -> ProfileName:
    """Return the name of the certificate profile of an offer's usage."""
    return ProfileName.of(ProfileOffer(offer.value), usage)


def algorithms_of(offer: Offer, usage: Usage) -> tuple[str, ...]:
    """Return the key algorithms that the profile allows, the default first."""
    allowed = {kind.value for kind in PROFILES[profile_name(offer, usage)].keys}
    return (DEFAULT_ALGORITHM, *sorted(allowed - {DEFAULT_ALGORITHM}))


def offer_views() -> tuple[OfferView, ...]:
    """Return every offer as published."""
    return tuple(
        OfferView(
            offer=terms.offer,
            label=terms.label,
            designates=terms.designates,
            usages=tuple(_usage_view(terms.offer, usage) for usage in terms.usages),
        )
        for terms in OFFERS.values()
    )


def _usage_view(offer: Offer, terms: UsageTerms) -> UsageView:
    return UsageView(
        usage=terms.usage,
        label=USAGE_LABELS[terms.usage],
        fields=tuple(_field_view(field) for field in terms.fields),
        algorithms=algorithms_of(offer, terms.usage),
    )


def _field_view(field: Field) -> FieldView:
    return FieldView(
        name=field.name,
        kind=field.kind,
        required=True,
        pattern=field.pattern,
        example=field.example,
        label=field.label,
        help=field.help,
    )
