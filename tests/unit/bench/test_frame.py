"""The benchmarks' frame: rounds alternate, targets are judged, runs are compared, charts are drawn."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest

from bench.charts import growth
from bench.check import regressions
from bench.frame import (
    Asked,
    Case,
    Cost,
    Curve,
    Group,
    Line,
    Missing,
    Pair,
    Points,
    Result,
    Shares,
    Target,
    Work,
    account,
    measure,
    perform,
    trace,
)
from bench.groups import GROUPS
from bench.page import charts, merged, most, page, times_better
from bench.report import Report, cells, report_of, table
from bench.spending import CLIENTS, LOOP, THREADS


def case(target: Target, rounds: int = 5) -> Case:
    return Case(name="a/b", ours="ours", beside="theirs", unit="ms", target=target, rounds=rounds)


def given(*values: float) -> Iterator[float]:
    return iter(values)


def test_rounds_alternate_and_the_median_ratio_is_judged() -> None:
    called: list[str] = []
    ours, theirs = given(2, 2, 30, 2, 2), given(1, 2, 1, 2, 1)

    def note(name: str, values: Iterator[float]) -> float:
        called.append(name)
        return next(values)

    pair = Pair(lambda: note("ours", ours), lambda: note("theirs", theirs))
    result = measure(case(Target("ratio", "at most", 2.0)), pair)
    assert called == ["theirs", "ours", "ours", "theirs"] * 2 + ["theirs", "ours"]
    assert (result.median, result.lowest, result.highest, result.met) == (2.0, 1.0, 30.0, True)
    assert (result.ours, result.beside, result.rounds) == (2, 1, 5)


@pytest.mark.parametrize(
    ("target", "median", "met"),
    [
        (Target("ratio", "at least", 0.5), 0.5, True),
        (Target("ratio", "at least", 0.6), 0.5, False),
        (Target("difference", "at most", -1.0), -1.0, True),
        (Target("difference", "at most", -2.0), -1.0, False),
        (Target("ours", "at most", 1.0), 1.0, True),
        (Target("ours", "at least", 1.5), 1.0, False),
    ],
)
def test_a_target_is_on_the_ratio_the_difference_or_ours(target: Target, median: float, met: bool) -> None:
    result = measure(case(target, 1), Pair(lambda: 1.0, lambda: 2.0))
    assert (result.median, result.met) == (median, met)


def test_what_cannot_be_measured_says_why() -> None:
    result = measure(case(Target("ratio", "at most", 1)), Missing("no token"))
    assert (result.met, cells(result)[1]) == (None, "not measured: no token")


def test_what_fails_costs_no_other_case_its_figures(tmp_path: Path) -> None:
    target = Target("ours", "at most", 1)
    cases = [Case(name=f"g/{name}", ours=name, unit="ms", target=target, rounds=1) for name in "abc"]

    def fail() -> float:
        raise RuntimeError("the token is gone\nand more")

    @contextmanager
    def opened(_: Asked) -> Iterator[Work]:
        yield {"g/a": Pair(fail), "g/b": Pair(lambda: 1.0)}

    @contextmanager
    def closed(_: Asked) -> Iterator[Work]:
        raise RuntimeError("no daemon")
        yield {}

    asked = Asked(tmp_path, [each.name for each in cases], None)
    reasons = [
        [each.why_missing for each in perform(Group("g", cases, way), asked, rounds=None, progress=str)]
        for way in (opened, closed)
    ]
    gone, none = "it failed: RuntimeError the token is gone", "it failed: RuntimeError no daemon"
    assert reasons == [[gone, None, "the group does not offer it"], [none] * 3]


def test_a_program_that_fails_is_named_without_where_it_is(tmp_path: Path) -> None:
    def fail() -> float:
        subprocess.run([sys.executable, "-c", "raise SystemExit(3)", tmp_path / "given"], check=True)
        return 1.0

    group = Group("a", [case(Target("ours", "at most", 1))], lambda _: nullcontext({"a/b": Pair(fail)}))
    (result,) = perform(group, Asked(tmp_path, ["a/b"], None), rounds=1, progress=str)
    name = Path(sys.executable).name
    assert result.why_missing == (
        f"it failed: CalledProcessError ended with 3: {name} -c raise SystemExit(3) given"
    )


def test_a_curve_has_a_figure_for_each_size() -> None:
    curve = Curve(name="a/c", title="Growth", x="rows", unit="ms", sizes=(10, 100))
    assert trace(curve, Points(lambda size: {"line": size / 10})).points == (
        (10, {"line": 1.0}), (100, {"line": 10.0}),
    )  # fmt: skip


def result_of(ratio: float, target: Target) -> Result:
    return measure(case(target, 1), Pair(lambda: ratio, lambda: 1.0))


@pytest.mark.parametrize(
    ("target", "then", "now", "found"),
    [
        (Target("ratio", "at least", 1), 1.0, 0.5, 1),
        (Target("ratio", "at least", 1), 1.0, 0.9, 0),
        (Target("ratio", "at most", 1), 1.0, 2.0, 1),
        (Target("ratio", "at most", 1), 1.0, 0.1, 0),
        (Target("ours", "at most", 1), 1.0, 9.0, 0),
    ],
)
def test_a_ratio_that_is_clearly_worse_is_a_regression(
    target: Target, then: float, now: float, found: int
) -> None:
    reports = [report_of([result_of(each, target)]) for each in (then, now)]
    assert len(list(regressions(*reports))) == found


def test_a_case_that_fails_now_is_a_regression_and_one_that_lacks_its_peer_is_not() -> None:
    then = report_of([result_of(1.0, Target("ratio", "at least", 1))])

    def now(work: Pair | Missing) -> Report:
        group = Group("a", [then.results[0].case], lambda _: nullcontext({"a/b": work}))
        asked = Asked(Path(), ["a/b"], None)
        return report_of(list(perform(group, asked, rounds=1, progress=str)))

    def fail() -> float:
        raise RuntimeError("no token")

    assert list(regressions(then, now(Pair(fail)))) == ["a/b: it failed: RuntimeError no token"]
    assert list(regressions(then, now(Missing("no peer")))) == []


def test_a_run_of_some_cases_leaves_the_others_of_the_same_machine() -> None:
    named = [each.name for group in GROUPS for each in group.declared if isinstance(each, Case)][:3]
    target = Target("ratio", "at least", 1)

    def ran(names: list[str], ratio: float) -> Report:
        cases = [Case(name=name, ours=name, unit="ms", target=target, rounds=1) for name in names]
        return report_of([measure(each, Pair(partial(float, ratio), lambda: 1.0)) for each in cases])

    both = merged(ran(named[:2], 1.0), ran(named[:0:-1], 2.0))
    assert [(each.case.name, each.median) for each in both.results] == [
        (named[0], 1.0), (named[1], 2.0), (named[2], 2.0),
    ]  # fmt: skip
    elsewhere = msgspec.structs.replace(ran(named[2:], 3.0), machine="another")
    assert merged(both, elsewhere) == elsewhere


def test_names_of_lines_that_end_at_the_same_place_are_drawn_apart() -> None:
    points = [(10, {"one": 1.0, "two": 1.0}), (100, {"one": 2.0, "two": 2.0})]
    root = ElementTree.fromstring(growth("Growth", "rows", "ms", points))  # noqa: S314 (our own)
    places = {each.text: float(each.attrib["y"]) for each in root.iter("{http://www.w3.org/2000/svg}text")}
    assert abs(places["one"] - places["two"]) > 12


def test_the_page_takes_a_run_between_its_marks_and_charts_are_well_formed() -> None:
    curve = Curve(name="a/c", title="Growth & more", x="rows", unit="ms", sizes=(10, 100))
    line = Line(curve=curve, points=((10, {"one": 0.5, "two": 3.0}), (100, {"one": 5.0, "two": 4.0})))
    cost = Cost(name="a/d", what="one answer")
    spent = account(cost, Shares(lambda: {LOOP: 0.5, THREADS: 0.5, CLIENTS: 0.25}))
    report = report_of([result_of(4.0, Target("ratio", "at least", 2)), line, spent])
    report = msgspec.structs.replace(report, cores=2)
    assert times_better(report.results[0]) == 2.0
    drawn = charts(report)
    assert set(drawn) == {"a-c.svg", "targets.svg"}
    for each in drawn.values():
        ElementTree.fromstring(each.drawing)  # noqa: S314 (our own)
    text = page("before <!-- measured: begin -->old<!-- measured: end --> after", report)
    assert "old" not in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert "![Growth & more](performance/a-c.svg)" in text
    assert "| ours | 4 ms | theirs: 1 ms | 4 (4–4) | ≥ 2 × | yes |" in text
    assert "| one answer | 0.5 | 0.5 | 0.25 | 1.25 | 1,000 |" in text
    assert most({LOOP: 0.5, CLIENTS: 3.5}, cores=2) == 500
    assert page(text, report) == text
    assert table(report).row_count == 3
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


def test_every_case_has_a_name_of_its_own_under_its_group() -> None:
    names = [each.name for group in GROUPS for each in group.declared]
    assert len(set(names)) == len(names)
    assert all(each.name.startswith(f"{group.name}/") for group in GROUPS for each in group.declared)
