"""A number over time as an SVG step line; the page writes the labels beside it, so that they keep their size."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

#: The drawing's own units; the page stretches it.
WIDTH, HEIGHT = 600, 160
_STEPS = (1, 2, 5)


class Point(NamedTuple):
    """A value, from a moment on."""

    at: datetime
    value: int


class Chart(NamedTuple):
    """A drawing and what its labels say."""

    line: str
    """Path data of the line."""
    area: str
    """Path data of what lies below it."""
    ticks: tuple[int, ...]
    """Values of the horizontal lines, from 0 up to the top of the drawing."""
    begin: datetime
    end: datetime
    last: int

    @property
    def top(self) -> int:
        """The value at the top of the drawing."""
        return self.ticks[-1]

    def height_of(self, value: int) -> float:
        """Return where a value is drawn, from the top."""
        return HEIGHT * (1 - value / self.top)


def step_chart(points: Sequence[Point], now: datetime) -> Chart | None:
    """Draw values that each hold until the next one, the last until `now`; points are oldest first."""
    if not points:
        return None
    begin, end = points[0].at, max(now, points[-1].at)
    length = (end - begin).total_seconds() or 1.0
    chart = Chart("", "", _ticks(max(point.value for point in points)), begin, end, points[-1].value)
    steps: list[str] = []
    for point in points:
        x = WIDTH * (point.at - begin).total_seconds() / length
        y = chart.height_of(point.value)
        steps.append(f"H{x:.1f}V{y:.1f}" if steps else f"M0 {y:.1f}")
    line = "".join(steps) + f"H{WIDTH}"
    return chart._replace(line=line, area=f"{line}V{HEIGHT}H0Z")


def _ticks(most: int) -> tuple[int, ...]:
    """Return from two to five round values, from 0 to one that is not below `most`."""
    step, digits = 1, 1
    while step * 4 < most:
        step = next((found * digits for found in _STEPS if found * digits * 4 >= most), step)
        digits *= 10
    count = max(-(-most // step), 1)
    return tuple(step * number for number in range(count + 1))
