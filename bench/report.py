"""What was measured, as a table for people and as JSON for `make bench-docs` and `make bench-check`."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.table import Table

from bench.frame import Line, Measured, Result, Spent, Target

_SIGNS = {"at most": "≤", "at least": "≥"}


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run: the machine it was on, and its results."""

    machine: str
    cores: int
    results: tuple[Result, ...] = ()
    lines: tuple[Line, ...] = ()
    spent: tuple[Spent, ...] = ()


def machine() -> str:
    """Describe this machine: cores, processor, system."""
    return f"{_cores()} × {_processor()}, {platform.system()} {platform.release()}"


def report_of(measured: Sequence[Measured]) -> Report:
    """Put together what a run measured."""
    return Report(
        machine=machine(),
        cores=_cores(),
        results=tuple(each for each in measured if isinstance(each, Result)),
        lines=tuple(each for each in measured if isinstance(each, Line)),
        spent=tuple(each for each in measured if isinstance(each, Spent)),
    )


def table(report: Report) -> Table:
    """Return the table of a run."""
    shown = Table("case", "ours", "beside", "ratio (spread)", "target", "met", title=report.machine)
    for result in report.results:
        shown.add_row(*cells(result))
    for line in report.lines:
        points = " · ".join(f"{size:,}: {_figures(figures)}" for size, figures in line.points)
        shown.add_row(line.curve.title, line.why_missing or points, "", line.curve.unit, "", "")
    for spent in report.spent:
        shown.add_row(
            f"processor: {spent.cost.what}", spent.why_missing or _figures(spent.parts), "", "ms", "", ""
        )
    return shown


def cells(result: Result) -> tuple[str, str, str, str, str, str]:
    """Return one line of the table."""
    case = result.case
    if result.why_missing is not None:
        return (
            case.ours,
            f"not measured: {result.why_missing}",
            case.beside or "–",
            "–",
            bound(case.target),
            "–",
        )
    beside = "–" if result.beside is None else f"{case.beside}: {figure(result.beside)} {case.unit}"
    spread = f"{figure(result.median)} ({figure(result.lowest)}–{figure(result.highest)})"
    return (
        case.ours,
        f"{figure(result.ours)} {case.unit}",
        beside,
        spread,
        bound(case.target, case.unit),
        "yes" if result.met else "no",
    )


def summary(measured: Measured) -> str:
    """Return one line for whoever waits for the table."""
    if measured.why_missing is not None:
        return f"not measured: {measured.why_missing}"
    if isinstance(measured, Line):
        return f"{len(measured.points)} sizes"
    if isinstance(measured, Spent):
        return f"{figure(sum(measured.parts.values()))} ms of the processor"
    _, ours, beside, spread, wanted, met = cells(measured)
    return f"{ours}; {beside}; {spread}; {wanted}: {met}"


def bound(target: Target, unit: str = "") -> str:
    """Return a target in words."""
    sign = _SIGNS[target.bound]
    match target.of:
        case "ratio":
            return f"{sign} {target.number:,g} ×"
        case "difference":
            return f"{sign} {target.number:,g} {unit} more".replace("  ", " ")
        case "ours":
            return f"{sign} {target.number:,g} {unit}".rstrip()


def figure(number: float | None) -> str:
    """Return a figure with three digits that count."""
    if number is None:
        return "–"
    if abs(number) >= 100:
        return f"{number:,.0f}"
    return f"{number:.3g}" if abs(number) >= 0.001 else "0"


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {figure(value)}" for name, value in figures.items())


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
