"""Forms of the pages: read once, with the session's token checked, into values that are kept on error."""

import secrets
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs

from aiohttp import web

from cardd.text import Text
from cardd_webservice.errors import FormRefusedError
from cardd_webservice.guard.bodies import read_body
from cardd_webservice.guard.browsers import BrowserSession

MEDIA_TYPE = "application/x-www-form-urlencoded"
TOKEN_FIELD = "_jeton"  # noqa: S105 (a field's name)
NONCE_FIELD = "_envoi"
_MOST_FIELDS = 200


class Form:
    """What a form carries; a field that is not there is empty."""

    def __init__(self, values: Mapping[str, Sequence[str]] | None = None) -> None:
        self._values = values or {}

    def text(self, name: str) -> str:
        """Return the value of a field, without the spaces around it."""
        return self._values.get(name, [""])[0].strip()

    def secret(self, name: str) -> str:
        """Return the value of a field exactly as typed."""
        return self._values.get(name, [""])[0]

    def optional(self, name: str) -> str | None:
        """Return the value of a field, or `None` where nothing was typed."""
        return self.text(name) or None

    def lines(self, name: str) -> tuple[str, ...]:
        """Return the values of a field with one a line, or set apart by commas."""
        return tuple(part.strip() for part in self.text(name).replace(",", "\n").splitlines() if part.strip())

    def all(self, name: str) -> tuple[str, ...]:
        """Return every value of a field: of ticked boxes."""
        return tuple(self._values.get(name, ()))

    def ticked(self, name: str) -> bool:
        """Tell whether a box is ticked."""
        return name in self._values


async def read_form(request: web.Request, session: BrowserSession) -> Form:
    """Return the form sent; raises `FormRefusedError` unless it carries the token of its session."""
    raw = await read_body(request, MEDIA_TYPE)
    try:
        values = parse_qs(
            raw.decode(), keep_blank_values=True, strict_parsing=False, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise _refused(Text("It cannot be read.", "Il est illisible.")) from None
    given = values.pop(TOKEN_FIELD, [])
    if len(given) != 1 or not secrets.compare_digest(given[0].encode(), session.form_token.encode()):
        raise _refused(
            Text("It is not a form of the present session.", "Il n’est pas de la session en cours.")
        )
    return Form(values)


def _refused(detail: Text) -> FormRefusedError:
    return FormRefusedError(detail)
