"""Is a request addressed to us, and which page sent it? Pure rules."""

from collections.abc import Sequence
from typing import NamedTuple

from cardd.text import Text
from cardd_webservice.errors import ForeignOriginError, MisdirectedRequestError
from cardd_webservice.guard.policy import GuardPolicy, OriginKind


class Origin(NamedTuple):
    """Where the page that sent a request comes from; `value` as its browser wrote it."""

    kind: OriginKind
    value: str | None = None


def check_host(policy: GuardPolicy, hosts: Sequence[str], target: str, port: int | None) -> str:
    """Return the name under which we are called; `port` is ours, `None` on the Unix socket.

    `hosts` are all `Host` headers of the request, `target` its request target: an absolute one would
    override the header (RFC 9112 §3.2.2). Raises `MisdirectedRequestError`.
    """
    if len(hosts) == 1 and target.startswith("/"):
        name, given_port = _split(hosts[0].lower())
        is_ours = name in policy.hosts or (port is None and name == policy.socket_host)
        if is_ours and (given_port is None or port is None or given_port == str(port)):
            return name
    shown = ", ".join(hosts)[:100]
    raise MisdirectedRequestError(
        Text(
            f"The request is addressed to “{shown}”, which is not this daemon.",
            f"La demande est adressée à « {shown} », qui n’est pas ce démon.",
        )
    )


def origin_of(policy: GuardPolicy, origins: Sequence[str], fetch_site: str | None, own: str | None) -> Origin:
    """Return which page sent a request: one of ours, none, or a foreign one.

    `origins` are all `Origin` headers, `fetch_site` is `Sec-Fetch-Site`; `own` is our origin as browsers write
    it under the name called, `None` on the Unix socket.
    """
    crosses = fetch_site is not None and fetch_site.strip().lower() in policy.refused_sites
    if not origins:
        return Origin(OriginKind.FOREIGN if crosses else OriginKind.NONE)
    if len(origins) > 1:
        return Origin(OriginKind.FOREIGN)
    is_own = origins[0] == own and not crosses
    return Origin(OriginKind.OWN if is_own else OriginKind.FOREIGN, origins[0])


def foreign(origin: Origin) -> ForeignOriginError:
    """Return the refusal of a page."""
    if origin.value is None:
        return ForeignOriginError(
            Text(
                "A page of another site sent this request.",
                "Une page d’un autre site a envoyé cette demande.",
            )
        )
    shown = origin.value[:100]
    return ForeignOriginError(
        Text(
            f"The request comes from a page of “{shown}”, which may not make it.",
            f"La demande vient d’une page de « {shown} », qui ne peut pas la faire.",
        )
    )


def own_origin(name: str, port: int, *, is_tls: bool) -> str:
    """Return our origin as browsers write it: the default port is left out (RFC 6454 §6.2)."""
    scheme, default = ("https", 443) if is_tls else ("http", 80)
    return f"{scheme}://{name}" if port == default else f"{scheme}://{name}:{port}"


def _split(host: str) -> tuple[str, str | None]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host, None
    return name, port
