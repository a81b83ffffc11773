"""Choosing a representation by `Accept` (RFC 9110 §12.5.1)."""

from collections.abc import Sequence
from typing import NamedTuple

from cardd.text import Text
from cardd_webservice.errors import NotAcceptableError


class _Range(NamedTuple):
    kind: str
    quality: float


def preferred(accept: str, available: Sequence[str]) -> str:
    """Return the media type that the caller likes best; of equals, the first of `available`.

    A malformed part is passed over; raises `NotAcceptableError` where nothing fits.
    """
    ranges = [_parsed(part) for part in accept.split(",") if part.strip()]
    if not ranges:
        return available[0]
    best = max(available, key=lambda kind: _quality(kind, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptableError(
            Text("No accepted media type is available.", "Aucun type accepté n’est disponible."),
            available=list(available),
        )
    return best


def _quality(kind: str, ranges: Sequence[_Range]) -> float:
    """Return the quality that the most specific matching range gives a media type."""
    family = kind.partition("/")[0]
    for wanted in (kind, f"{family}/*", "*/*"):
        matching = [given.quality for given in ranges if given.kind == wanted]
        if matching:
            return max(matching)
    return 0.0


def _parsed(part: str) -> _Range:
    kind, *parameters = (piece.strip().lower() for piece in part.split(";"))
    quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
    try:
        return _Range(kind, min(max(float(quality), 0.0), 1.0))
    except ValueError:
        return _Range(kind, 0.0)
