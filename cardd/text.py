"""Sentences for people, in the two languages the project speaks."""

from typing import Literal

import msgspec

Language = Literal["fr", "en"]


class Text(msgspec.Struct, frozen=True):
    """One sentence in English and in French; the reader's language is chosen at the edge."""

    en: str
    fr: str

    def in_language(self, language: Language) -> str:
        """Return the sentence in `language`."""
        return self.fr if language == "fr" else self.en


def preferred_language(accept_language: str, default: Language = "en") -> Language:
    """Choose between French and English from an `Accept-Language` header (RFC 9110 §12.5.4).

    Malformed parts are passed over; where neither language is named, `default` is returned.
    """
    best: Language = default
    best_quality = 0.0
    for part in accept_language.split(","):
        tag, _, parameters = part.strip().partition(";")
        language = tag.strip().lower().partition("-")[0]
        if language not in ("fr", "en"):
            continue
        quality = _quality(parameters)
        if quality > best_quality:
            best, best_quality = ("fr" if language == "fr" else "en"), quality
    return best


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0
