"""Language of the pages: French first, English too; typography and dates as each of them wants."""

import re
from datetime import datetime, timedelta
from typing import Any

from aiohttp import web
from markupsafe import Markup, escape

from cardd.text import Language, Text, preferred_language

LANGUAGE_COOKIE = "cardd-langue"
_LANGUAGES: dict[str, Language] = {"fr": "fr", "en": "en"}
_MONTHS = {
    "fr": (
        "janvier", "février", "mars", "avril", "mai", "juin",
        "juillet", "août", "septembre", "octobre", "novembre", "décembre",
    ),
    "en": (
        "January", "February", "March", "April", "May", "June",
        "July", "August", "September", "October", "November", "December",
    ),
}  # fmt: skip
_NARROW, _WIDE = "\u202f", "\u00a0"
_CODE = re.compile(r"`([^`]*)`")


def asked_language(request: web.Request) -> Language | None:
    """Return the language that `?lang=` asks for."""
    return _LANGUAGES.get(request.query.get("lang", ""))


def page_language(request: web.Request) -> Language:
    """Choose by `?lang=`, else by what was chosen before, else by the browser; French where none says."""
    kept = _LANGUAGES.get(request.cookies.get(LANGUAGE_COOKIE, ""))
    return (
        asked_language(request)
        or kept
        or preferred_language(request.headers.get("Accept-Language", ""), default="fr")
    )


def typeset(sentence: str, language: Language) -> str:
    """Return a sentence with the spaces and apostrophes of its language's typography."""
    sentence = sentence.replace("'", "’")
    if language != "fr":
        return sentence
    sentence = re.sub(r" ([;!?])", _NARROW + r"\1", sentence)
    sentence = re.sub(r" ([:%»])", _WIDE + r"\1", sentence)
    return re.sub(r"« ", "«" + _WIDE, sentence)


def prose(text: Text | str, language: Language) -> Markup:
    """Return a sentence as HTML: escaped, typeset, and what stands between backquotes as code."""
    sentence = text.in_language(language) if isinstance(text, Text) else text
    parts = _CODE.split(sentence)
    return Markup().join(
        Markup("<code>{}</code>").format(part) if odd else escape(typeset(part, language))
        for odd, part in ((index % 2, part) for index, part in enumerate(parts))
    )


def day(moment: datetime, language: Language) -> str:
    """Return a moment's day in the machine's time zone: “23 novembre 2026”, “23 November 2026”."""
    local = moment.astimezone()
    number = "1er" if language == "fr" and local.day == 1 else str(local.day)
    return f"{number}{_WIDE}{_MONTHS[language][local.month - 1]} {local.year}"


def clock_time(moment: datetime, language: Language) -> str:
    """Return a moment with its time: “23 novembre 2026 à 14 h 05”, “23 November 2026, 14:05”."""
    local = moment.astimezone()
    if language == "fr":
        return f"{day(moment, language)} à {local.hour}{_WIDE}h{_WIDE}{local.minute:02d}"
    return f"{day(moment, language)}, {local:%H:%M}"


def span(length: timedelta, language: Language) -> str:
    """Return a length of time in its two greatest units: “2 jours 3 h”, “45 min”."""
    minutes = max(int(length.total_seconds() // 60), 0)
    days, hours = divmod(minutes // 60, 24)
    if days:
        word = Text("day" if days == 1 else "days", "jour" if days == 1 else "jours").in_language(language)
        return f"{days}{_WIDE}{word}" + (f" {hours}{_WIDE}h" if hours and days < 10 else "")
    return f"{hours}{_WIDE}h {minutes % 60:02d}{_WIDE}min" if hours else f"{minutes}{_WIDE}min"


def number(value: Any, language: Language) -> str:
    """Return a whole number with its thousands apart."""
    return f"{value:,}".replace(",", _NARROW if language == "fr" else ",")
