"""Counting attempts, to refuse those that come too fast."""

import math
from collections import OrderedDict, deque

from cardd.clock import Clock
from cardd_webservice.guard.policy import Allowance

#: Names that are counted apart; of the one that was quiet longest, the count is dropped.
_MOST_NAMES = 1000


class Attempts:
    """The attempts of late, by name."""

    def __init__(self, clock: Clock, allowance: Allowance) -> None:
        self._clock = clock
        self._allowance = allowance
        self._moments: OrderedDict[str, deque[float]] = OrderedDict()

    def wait(self, name: str) -> int:
        """Return the seconds until a further attempt is welcome, rounded up; 0 where it is now."""
        moments = self._moments.get(name)
        if moments is None or len(moments) < self._allowance.most:
            return 0
        return max(0, math.ceil(moments[0] + self._allowance.seconds - self._clock.monotonic()))

    def count(self, name: str) -> None:
        """Note an attempt."""
        self._moments.setdefault(name, deque(maxlen=self._allowance.most)).append(self._clock.monotonic())
        self._moments.move_to_end(name)
        while len(self._moments) > _MOST_NAMES:
            self._moments.popitem(last=False)
