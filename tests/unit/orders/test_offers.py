"""Offers: what is published and what is checked are the same data."""

import re

import msgspec
import pytest

from cardd.igc.profiles import PROFILES, SanKind
from cardd.orders.forms import check_order
from cardd.orders.offers import OFFERS, algorithms_of, offer_views, profile_name
from cardd.orders.types import Offer, OrderRequest
from cardd.vocabulary import Usage
from tests.support.orders import STRUCTURE

PAIRS = [(terms.offer, usage.usage) for terms in OFFERS.values() for usage in terms.usages]


def test_every_offer_has_the_usages_of_the_reference() -> None:
    usages = {view.offer.value: {usage.usage.value for usage in view.usages} for view in offer_views()}
    assert usages == {
        "ORG": {"AUTH_CLI", "SIGN", "CONF"},
        "SERV": {"SSL_SERV", "SMIME", "SIGN", "CONF"},
        "PRO": {"AUTH_CLI", "SIGN"},
        "PS": {"AUTH_CLI", "SIGN"},
    }


@pytest.mark.parametrize(("offer", "usage"), PAIRS)
def test_the_published_examples_make_an_order_that_is_accepted(offer: Offer, usage: Usage) -> None:
    view = next(view for view in offer_views() if view.offer is offer)
    fields = next(terms for terms in view.usages if terms.usage is usage).fields
    form = {field.name: field.example for field in fields}
    form |= {"offer": offer.value, "usage": usage.value, "structure": STRUCTURE}
    assert check_order(msgspec.convert(form, OrderRequest)).contacts


@pytest.mark.parametrize(("offer", "usage"), PAIRS)
def test_every_published_example_matches_its_pattern_and_every_label_is_in_both_languages(
    offer: Offer, usage: Usage
) -> None:
    terms = next(terms for terms in OFFERS[offer].usages if terms.usage is usage)
    for field in terms.fields:
        assert all((field.label.en, field.label.fr, field.help.en, field.help.fr))
        values = field.example if isinstance(field.example, list) else [field.example]
        if field.pattern is not None:
            assert all(re.search(field.pattern, value) for value in values)


@pytest.mark.parametrize(("offer", "usage"), PAIRS)
def test_the_fields_fit_the_alternative_names_of_the_profile(offer: Offer, usage: Usage) -> None:
    names = {field.name for terms in OFFERS[offer].usages if terms.usage is usage for field in terms.fields}
    san = PROFILES[profile_name(offer, usage)].subject_alternative_name
    assert ("fqdn" in names) == (san is SanKind.DNS_NAMES)
    assert ("email" in names) == (san is SanKind.EMAIL)


def test_a_key_that_deciphers_is_rsa_and_the_default_comes_first() -> None:
    assert algorithms_of(Offer.ORG, Usage.AUTH_CLI)[0] == "rsa_2048"
    assert "ec_p256" in algorithms_of(Offer.ORG, Usage.AUTH_CLI)
    assert all(name.startswith("rsa") for name in algorithms_of(Offer.ORG, Usage.CONF))


def test_the_naming_rule_of_the_insi_teleservice_is_told_not_enforced() -> None:
    (service, _) = OFFERS[Offer.ORG].usages[0].fields
    assert "INSI-AUTO" in service.help.en
    assert "INSI-MANU" in service.help.fr
