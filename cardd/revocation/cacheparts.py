"""What the revocation cache is made from, and the shapes it shares with those around it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from random import Random, SystemRandom
from typing import NamedTuple, Protocol

from cryptography import x509

from cardd.clock import Clock
from cardd.events import EventBus
from cardd.revocation.fetching import Fetcher
from cardd.revocation.policies import RenewalPolicy
from cardd.revocation.sources import NewSource
from cardd.revocation.types import CrlId, FreshnessPolicy
from cardd.store import Store


class LocalList(NamedTuple):
    """A list that this daemon publishes itself."""

    id: CrlId
    signer: x509.Certificate
    der: bytes
    sha256: str
    """Of `der`, hexadecimal."""


class LocalLists(Protocol):
    """The local PKI, as the cache sees it."""

    def current(self) -> Sequence[LocalList]:
        """Return the complete lists as published last."""
        ...


@dataclass(frozen=True, kw_only=True)
class CacheParts:
    """What the cache is made from."""

    store: Store
    clock: Clock
    bus: EventBus
    directory: Path
    fetcher: Fetcher
    policy: FreshnessPolicy
    """Of callers that name none."""
    local: LocalLists
    fixed: Sequence[NewSource] = ()
    """Lists of the settings."""
    renewal: RenewalPolicy = field(default_factory=RenewalPolicy)
    archive_for: timedelta = timedelta(days=90)
    random: Random = field(default_factory=SystemRandom)
