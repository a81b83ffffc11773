"""How an application presents itself: its name, and the origin of its pages."""

import ipaddress
import re

from cardd.applications.types import PairingRequest
from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.text import Text

#: An origin as browsers write it (RFC 6454 §6.2): lower case, no path, no credentials.
_ORIGIN = re.compile(r"(https?)://([a-z0-9.-]+|\[[0-9a-f:.]+\])(?::([1-9][0-9]{0,4}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443"}
_LARGEST_PORT = 65535


def checked_name(name: str) -> str:
    """Return a name without the spaces around it; raises `InvalidFieldsError`.

    Characters that are not seen, or that turn the direction of writing, could make one name look like another.
    """
    stripped = name.strip()
    if not stripped or not stripped.isprintable():
        raise InvalidFieldsError(
            [
                FieldProblem(
                    "name",
                    Text("must hold visible characters only", "ne doit contenir que des caractères visibles"),
                )
            ]
        )
    return stripped


def checked_origin(request: PairingRequest, sent: str | None) -> str | None:
    """Return the origin an application is paired for, nothing for a program; raises `InvalidFieldsError`.

    `sent` is the `Origin` header, where a browser sent one: a page speaks for its own origin only.
    """
    if request.origin is None and sent is None:
        return None
    origin = request.origin if request.origin is not None else sent
    if sent is not None and origin != sent:
        raise _not_an_origin(
            Text(f"must be the origin of the page that asks, {sent[:100]}",
                 f"doit être l’origine de la page qui demande, {sent[:100]}")
        )  # fmt: skip
    if origin is None or not is_web_origin(origin):
        raise _not_an_origin(
            Text(
                "must be an origin such as https://app.example: https (http on this machine only), lower case, "
                "no path, no default port",
                "doit être une origine comme https://app.example : https (http sur cette machine seulement), "
                "en minuscules, sans chemin ni port par défaut",
            )
        )
    return origin


def is_web_origin(origin: str) -> bool:
    """Tell whether `origin` is one whose pages a browser can protect: https, or http on this machine."""
    found = _ORIGIN.fullmatch(origin)
    if found is None:
        return False
    scheme, host, port = found.groups()
    if port is not None and (int(port) > _LARGEST_PORT or port == _DEFAULT_PORTS[scheme]):
        return False
    if host.startswith((".", "-")) or ".." in host:
        return False
    return scheme == "https" or _on_this_machine(host)


def _on_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _not_an_origin(problem: Text) -> InvalidFieldsError:
    return InvalidFieldsError([FieldProblem("origin", problem)])
