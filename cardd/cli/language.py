"""The language of the person at the terminal."""

import os
from collections.abc import Mapping

from cardd.text import Language, Text


def terminal_language(environment: Mapping[str, str] | None = None) -> Language:
    """Return French where `LC_ALL`, `LC_MESSAGES` or `LANG` (in this order, POSIX XBD §8.2) says so."""
    values = os.environ if environment is None else environment
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if values.get(name):
            return "fr" if values[name].lower().startswith("fr") else "en"
    return "en"


def say(en: str, fr: str) -> str:
    """Return the sentence in the terminal's language."""
    return Text(en, fr).in_language(terminal_language())
