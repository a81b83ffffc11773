"""Charts of a number over time."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd_webservice.ihm.chart import HEIGHT, WIDTH, Point, step_chart

START = datetime(2026, 3, 2, tzinfo=UTC)


def test_nothing_is_drawn_of_nothing() -> None:
    assert step_chart([], START) is None


def test_a_value_holds_until_the_next_and_the_last_until_now() -> None:
    points = [Point(START, 0), Point(START + timedelta(hours=1), 4)]
    chart = step_chart(points, START + timedelta(hours=2))
    assert chart is not None
    assert chart.ticks == (0, 1, 2, 3, 4)
    assert chart.line == f"M0 {HEIGHT:.1f}H{WIDTH / 2:.1f}V0.0H{WIDTH}"
    assert chart.area == f"{chart.line}V{HEIGHT}H0Z"
    assert (chart.begin, chart.end, chart.last) == (START, START + timedelta(hours=2), 4)


@pytest.mark.parametrize(
    ("most", "top"),
    [(0, 1), (1, 1), (5, 6), (9, 10), (42, 60), (100, 100), (1234, 1500), (999_999, 1_000_000)],
)
def test_the_scale_ends_at_a_round_value(most: int, top: int) -> None:
    chart = step_chart([Point(START, most)], START)
    assert chart is not None
    assert chart.top == top


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**7)), min_size=1, max_size=30))
def test_every_drawing_stays_in_its_frame(given_points: list[tuple[int, int]]) -> None:
    points = [Point(START + timedelta(seconds=second), value) for second, value in sorted(given_points)]
    chart = step_chart(points, START)
    assert chart is not None
    assert 2 <= len(chart.ticks) <= 5
    assert all(0 <= float(x) <= WIDTH for x in re.findall(r"H([-\d.]+)", chart.line))
    assert all(0 <= float(y) <= HEIGHT for y in re.findall(r"V([-\d.]+)", chart.line))
