"""Is a request addressed to us, and by one of our own pages or by a program? Pure rules."""

from collections.abc import Sequence

from cardd.text import Text
from cardd_webservice.errors import ForeignOriginError, MisdirectedRequestError
from cardd_webservice.guard.policy import GuardPolicy


def check_host(policy: GuardPolicy, hosts: Sequence[str], target: str, port: int | None) -> str:
    """Return the name under which we are called; `port` is ours, `None` on the Unix socket.

    `hosts` are all `Host` headers of the request, `target` its request target: an absolute one would
    override the header (RFC 9112 §3.2.2). Raises `MisdirectedRequestError`.
    """
    if len(hosts) == 1 and target.startswith("/"):
        name, given_port = _split(hosts[0].lower())
        names = policy.hosts if port is not None else (*policy.hosts, policy.socket_host)
        if name in names and (given_port is None or port is None or given_port == str(port)):
            return name
    shown = ", ".join(hosts)[:100]
    raise MisdirectedRequestError(
        Text(
            f"The request is addressed to “{shown}”, which is not this daemon.",
            f"La demande est adressée à « {shown} », qui n’est pas ce démon.",
        )
    )


def check_origin(
    policy: GuardPolicy, origins: Sequence[str], fetch_site: str | None, name: str, port: int | None
) -> None:
    """Raise `ForeignOriginError` unless `Origin` is absent or exactly ours under the `name` called."""
    if fetch_site is not None and fetch_site.strip().lower() in policy.refused_sites:
        raise ForeignOriginError(
            Text(
                "A page of another site sent this request.",
                "Une page d’un autre site a envoyé cette demande.",
            )
        )
    if not origins:
        return
    if len(origins) > 1 or port is None or origins[0] != _own_origin(name, port):
        shown = ", ".join(origins)[:100]
        raise ForeignOriginError(
            Text(
                f"The request comes from a page of “{shown}”, not from one of the daemon's own.",
                f"La demande vient d’une page de « {shown} », et non d’une page du démon.",
            )
        )


def _own_origin(name: str, port: int) -> str:
    """Return our origin as browsers write it: the default port is left out (RFC 6454 §6.2)."""
    return f"http://{name}" if port == 80 else f"http://{name}:{port}"


def _split(host: str) -> tuple[str, str | None]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        return host, None
    return name, port
