"""Sentences in two languages, and the choice between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.text import Text, preferred_language


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("fr", "fr"),
        ("fr-FR,fr;q=0.9,en;q=0.5", "fr"),
        ("en;q=0.4, fr;q=0.6", "fr"),
        ("de, en;q=0.3", "en"),
        ("fr;q=0", "en"),
        ("fr;q=abc, en;q=0.1", "en"),
    ],
)
def test_the_language_with_the_greatest_quality_is_chosen(header: str, language: str) -> None:
    assert preferred_language(header) == language


def test_the_default_is_taken_when_neither_language_is_named() -> None:
    assert preferred_language("de,it;q=0.5", default="fr") == "fr"


@given(st.text(max_size=60))
def test_any_header_gives_a_language(header: str) -> None:
    assert preferred_language(header) in ("fr", "en")


def test_a_sentence_is_read_in_the_language_asked_for() -> None:
    text = Text("card", "carte")
    assert (text.in_language("en"), text.in_language("fr")) == ("card", "carte")
