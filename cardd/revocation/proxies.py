"""Which proxy an address is fetched through: the one of the settings, else those that the environment names."""

import os
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

#: The setting's word for no proxy at all, whatever the environment says.
NONE = "none"


class Proxies(NamedTuple):
    """Proxies by the scheme of what is fetched, and the hosts that are reached without."""

    http: str | None = None
    https: str | None = None
    no_proxy: str = ""
    """Host names and suffixes, separated by commas; `*` for all."""

    def of(self, url: str) -> str | None:
        """Return the proxy for an address; None where it is reached directly."""
        parts = urlsplit(url)
        if self._is_excepted(parts.hostname or ""):
            return None
        return self.https if parts.scheme == "https" else self.http

    def _is_excepted(self, host: str) -> bool:
        """Tell whether a host is one that `no_proxy` names, or lies below one; a leading dot says the same."""
        named = [each.strip().lower().lstrip(".") for each in self.no_proxy.split(",")]
        return any(name in ("*", host) or host.endswith(f".{name}") for name in named if name)


def chosen(proxy: str, no_proxy: str, environment: Mapping[str, str] = os.environ) -> Proxies:
    """Return the proxies: `proxy` for every address, none for `none`; where it is empty, `http_proxy`, `https_proxy`
    and `no_proxy` of the environment, in either case.
    """
    if proxy == NONE:
        return Proxies()
    if proxy:
        return Proxies(proxy, proxy, no_proxy)

    def named(name: str) -> str:
        return environment.get(name) or environment.get(name.upper()) or ""

    return Proxies(named("http_proxy") or None, named("https_proxy") or None, no_proxy or named("no_proxy"))
