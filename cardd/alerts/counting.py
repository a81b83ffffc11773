"""When a thing that was seen is worth an alert: so many times within a window, and over once the window is clear."""

from collections import defaultdict, deque
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from cardd.text import Text


class Key(NamedTuple):
    """What an alert is about."""

    kind: str
    subject: str


class Sighting(NamedTuple):
    """A thing that is wrong now; `times` in the window are needed before it is told."""

    key: Key
    detail: Text
    times: int


class Window:
    """Counts sightings, looked for at regular moments."""

    def __init__(self) -> None:
        self._seen: defaultdict[Key, deque[datetime]] = defaultdict(deque)

    def look(self, now: datetime, length: timedelta, sightings: Sequence[Sighting]) -> list[Sighting]:
        """Note what is seen now, and return those that were seen often enough within the window."""
        for sighting in sightings:
            self._seen[sighting.key].append(now)
        for key, moments in list(self._seen.items()):
            # A clock that was set back leaves moments of the future, which tell nothing.
            while moments and not now - length < moments[0] <= now:
                moments.popleft()
            if not moments:
                del self._seen[key]
        return [each for each in sightings if len(self._seen.get(each.key, ())) >= each.times]

    def is_clear(self, key: Key) -> bool:
        """Tell whether a thing was not seen within the window."""
        return key not in self._seen
