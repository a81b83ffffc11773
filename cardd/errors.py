"""One tree of errors: each knows its code, its HTTP status, its title, and what to do next.

A `CarddError` is the only exception that crosses a room's edge on purpose. The web service turns it
into `application/problem+json` (RFC 9457) and the command line into one line; both in one place each.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from cardd.text import Text


class FieldProblem(NamedTuple):
    """What is wrong with one field of a request; `field` is a dotted path such as `key.csr`."""

    field: str
    problem: Text


class CarddError(Exception):
    """An error with a stable `code` that callers may decide on.

    `detail` says what happened, `advice` what to do about it, `data` carries what a caller needs
    to decide (`tries_left`, `conflict`…) and is published as members of the problem document.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    title: ClassVar[Text] = Text("Internal error", "Erreur interne")
    default_advice: ClassVar[Text] = Text("", "")

    def __init__(self, detail: Text, *, advice: Text | None = None, **data: Any) -> None:
        super().__init__(detail.en)
        self.detail = detail
        self.advice = advice if advice is not None else self.default_advice
        self.data = data


class InvalidFieldsError(CarddError):
    """Some fields of a request break a rule; `fields` names each of them."""

    code = "invalid_fields"
    status = 422
    title = Text("Some fields are not valid", "Certains champs ne sont pas valides")
    default_advice = Text(
        "Correct the named fields and send the request again.",
        "Corrigez les champs nommés et renvoyez la demande.",
    )

    def __init__(self, fields: Sequence[FieldProblem]) -> None:
        self.fields = tuple(fields)
        super().__init__(
            Text(
                "; ".join(f"{f.field}: {f.problem.en}" for f in self.fields),
                " ; ".join(f"{f.field} : {f.problem.fr}" for f in self.fields),
            )
        )


class NotFoundError(CarddError):
    """Nothing is known under the identifier given."""

    code = "not_found"
    status = 404
    title = Text("Not found", "Introuvable")

    @classmethod
    def of(cls, kind: Text, identifier: str) -> "NotFoundError":
        """Make the error for a thing of `kind` (“order”, “certificate”) named `identifier`."""
        shown = identifier[:80]
        return cls(
            Text(
                f"No {kind.en} is known as “{shown}”.",
                f"Aucun objet « {kind.fr} » ne porte l’identifiant « {shown} ».",
            ),
            advice=Text(
                "List what exists and take its identifier from there.",
                "Listez ce qui existe et reprenez-y l’identifiant.",
            ),
        )


class ConflictError(CarddError):
    """The request does not fit the present state of what it names."""

    code = "conflict"
    status = 409
    title = Text("Not possible in the present state", "Impossible dans l’état actuel")


class UnavailableError(CarddError):
    """A part that the request needs does not answer now; the same request may be sent again."""

    code = "unavailable"
    status = 503
    title = Text("Temporarily unavailable", "Momentanément indisponible")
    default_advice = Text(
        "Try again in a moment; `cardd diagnose` says which part is down.",
        "Réessayez dans un instant ; `cardd diagnose` indique la partie arrêtée.",
    )
