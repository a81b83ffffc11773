"""Where a daemon is: a loopback address, and the files it leaves in its state directory."""

from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from cardd.client.answers import LOOPBACK_HOSTS
from cardd.client.errors import AddressNotLocalError, DaemonUnreachableError
from cardd.text import Text


class LocalAddress(NamedTuple):
    """An address on this machine."""

    url: str
    host: str
    port: int


def local_address(address: str) -> LocalAddress:
    """Check that `address` is one of this machine's; raises `AddressNotLocalError`."""
    parts = urlsplit(address)
    if parts.scheme != "http" or parts.hostname not in LOOPBACK_HOSTS:
        raise AddressNotLocalError(
            Text(
                f"“{address}” is not a local http address.",
                f"« {address} » n’est pas une adresse http locale.",
            )
        )
    return LocalAddress(address.rstrip("/"), parts.hostname, parts.port or 80)


def place_of_state(state: Path) -> tuple[str, str]:
    """Return address and token of the daemon that runs on a state; raises `DaemonUnreachableError`."""
    try:
        return (state / "address").read_text().strip(), (state / "token").read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DaemonUnreachableError(
            Text(
                f"No daemon has left its address and a readable token in {state}: {error}.",
                f"Aucun démon n’a laissé son adresse et un jeton lisible dans {state} : {error}.",
            )
        ) from None
