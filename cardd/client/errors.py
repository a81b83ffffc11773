"""What may go wrong between a program and the daemon."""

from typing import Any

import msgspec

from cardd.errors import CarddError
from cardd.text import Text


class AddressNotLocalError(CarddError):
    """The address is not one of this machine's loopback addresses."""

    code = "address_not_local"
    status = 400
    title = Text("Not a local address", "Adresse non locale")
    default_advice = Text(
        "Give an address such as http://127.0.0.1:8980; the token is never sent to another machine.",
        "Donnez une adresse telle que http://127.0.0.1:8980 ; le jeton n’est jamais envoyé à une autre machine.",
    )


class DaemonUnreachableError(CarddError):
    """Nothing answers under the address."""

    code = "daemon_unreachable"
    status = 503
    title = Text("The daemon does not answer", "Le démon ne répond pas")
    default_advice = Text(
        "Start it with `cardd run`, or name its state with --state-dir.",
        "Démarrez-le avec « cardd run », ou indiquez son état avec --state-dir.",
    )


class ConnectionCutError(DaemonUnreachableError):
    """The connection was accepted and then closed without an answer."""


class UnexpectedAnswerError(CarddError):
    """What answers does not speak the daemon's API."""

    code = "unexpected_answer"
    status = 502
    title = Text("Unexpected answer", "Réponse inattendue")
    default_advice = Text(
        "Check with `cardd diagnose` that the address is the daemon's and that the versions agree.",
        "Vérifiez avec « cardd diagnose » que l’adresse est celle du démon et que les versions concordent.",
    )


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a problem document (RFC 9457) that people are shown."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    advice: str = ""
    fields: tuple[dict[str, str], ...] = ()


class ProblemError(CarddError):
    """The daemon answered with a problem document; `document` holds all of its members."""

    title = Text("Refused by the daemon", "Refusé par le démon")

    def __init__(self, status: int, problem: Problem, document: dict[str, Any]) -> None:
        detail = problem.detail or problem.title or f"HTTP {status}"
        super().__init__(Text(detail, detail), advice=Text(problem.advice, problem.advice))
        self.http_status = status
        self.problem_code = problem.type.rpartition(":")[2]
        self.problem = problem
        self.document = document
