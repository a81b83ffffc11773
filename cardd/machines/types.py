"""What the API says of machines."""

from datetime import datetime

import msgspec


class MachineView(msgspec.Struct, frozen=True, kw_only=True):
    """A machine as its owner sees it; `certificate_sha256` is what to compare before enrolling it."""

    id: str
    name: str
    here: bool
    holds_ca: bool
    address: str
    certificate_sha256: str
    enrolled: bool
    enrolled_at: datetime | None
    seen_at: datetime
