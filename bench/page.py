"""`python -m bench.page RESULTS`: writes what a run measured into docs/performance.md, with its charts.

RESULTS is what `python -m bench --json` printed; it is kept beside the charts, for `python -m bench.check`. What a run
on the same machine measured earlier stays where this one did not measure it anew.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench.charts import against_targets, growth
from bench.frame import Measured, Result
from bench.groups import GROUPS
from bench.report import Report, cells, figure, report_of
from bench.spending import LOOP, THREADS

_DOCS = Path(__file__).parents[1] / "docs"
CHARTS = _DOCS / "performance"
RESULTS = CHARTS / "results.json"
_PAGE = _DOCS / "performance.md"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"
_TARGETS = "targets.svg"


def main() -> None:
    """Write the charts, the results and the page."""
    report = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Report)
    if RESULTS.exists():
        report = merged(msgspec.json.decode(RESULTS.read_bytes(), type=Report), report)
    CHARTS.mkdir(exist_ok=True)
    for former in CHARTS.glob("*.svg"):
        former.unlink()
    for name, chart in charts(report).items():
        (CHARTS / name).write_text(chart.drawing, encoding="utf-8")
    RESULTS.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    _PAGE.write_text(page(_PAGE.read_text(encoding="utf-8"), report), encoding="utf-8")


def merged(earlier: Report, now: Report) -> Report:
    """Return a run with what an earlier one on the same machine measured besides, in the order of the declarations."""
    if earlier.machine != now.machine:
        return now
    found: dict[str, Measured] = {each.case.name: each for each in (*earlier.results, *now.results)}
    found |= {each.curve.name: each for each in (*earlier.lines, *now.lines)}
    found |= {each.cost.name: each for each in (*earlier.spent, *now.spent)}
    names = (each.name for group in GROUPS for each in group.declared)
    both = report_of([found[name] for name in names if name in found])
    return msgspec.structs.replace(both, machine=now.machine, cores=now.cores)


class Chart(NamedTuple):
    """A chart, and the words that stand for it."""

    title: str
    drawing: str


def charts(report: Report) -> dict[str, Chart]:
    """Return the charts of a run by their file names."""
    drawn = {
        f"{line.curve.name.replace('/', '-')}.svg": Chart(
            line.curve.title, growth(line.curve.title, line.curve.x, line.curve.unit, line.points)
        )
        for line in report.lines
        if line.points
    }
    compared = [
        (each.case.name, times_better(each), bool(each.met))
        for each in report.results
        if each.median and each.case.target.number
    ]
    if compared:
        title = "How many times better than its target each case is"
        drawn[_TARGETS] = Chart(title, against_targets(title, compared))
    return drawn


def most(parts: Mapping[str, float], cores: int) -> float:
    """Return how many a second a cost allows: the daemon's threads share one interpreter, all processes the cores."""
    daemon = parts.get(LOOP, 0.0) + parts.get(THREADS, 0.0)
    return 1000 / max(daemon, sum(parts.values()) / cores)


def _spent(report: Report) -> Iterator[str]:
    """Return the table of what one of each takes of the processor."""
    measured = [each for each in report.spent if each.parts]
    if not measured:
        return
    parts = list(measured[0].parts)
    yield f"| processor time of one, in ms | {' | '.join(parts)} | in all | at most, a second |"
    yield "|---" * (len(parts) + 3) + "|"
    for each in measured:
        figures = (*each.parts.values(), sum(each.parts.values()), most(each.parts, report.cores))
        yield f"| {each.cost.what} | {' | '.join(figure(number) for number in figures)} |"
    yield ""


def times_better(result: Result) -> float:
    """Return how many times better than its target a case is; below 1 it is worse."""
    measured, target = max(result.median or 0.0, 1e-9), max(result.case.target.number, 1e-9)
    return target / measured if result.case.target.bound == "at most" else measured / target


def page(text: str, report: Report) -> str:
    """Return the page with what stands between its marks replaced by a run's results."""
    head, _, rest = text.partition(_BEGIN)
    _, _, tail = rest.partition(_END)
    lines = [
        f"Measured on {report.machine}.",
        "",
        "| case | ours | beside, in the same run | ratio (spread) | target | met |",
        "|---|---|---|---|---|---|",
        *(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in cells(each)) + " |"
            for each in report.results
        ),
        "",
        *_spent(report),
        "\n\n".join(f"![{chart.title}](performance/{name})" for name, chart in charts(report).items()),
    ]
    body = "\n".join(lines)
    return f"{head}{_BEGIN}\n{body}\n{_END}{tail}"


if __name__ == "__main__":
    main()
