"""`python -m bench.check RESULTS`: whether a run is as good as the one that docs/performance.md shows.

Ratios are compared, never times: what stands beside each case was measured in the same run, on the same machine.
(Counts of instructions would do as well, but virtual machines seldom let them be counted.) A case whose figure is a
time by itself is not judged; one that had a figure and fails now is a regression, whatever its figure was.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.page import RESULTS
from bench.report import Report, figure

#: How much worse a ratio may be before it counts as a regression: spreads of one machine are half of it.
_TOLERANCE = 1.5


def main() -> int:
    """Name every regression; 1 where there is one."""
    if not RESULTS.exists():
        raise SystemExit("there is nothing to compare with: make bench-docs writes it")
    then = msgspec.json.decode(RESULTS.read_bytes(), type=Report)
    now = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Report)
    found = list(regressions(then, now))
    sys.stdout.writelines(f"{line}\n" for line in found or [_none(now)])
    return 1 if found else 0


def _none(now: Report) -> str:
    judged = sum(each.case.target.of == "ratio" and each.median is not None for each in now.results)
    return f"None of {judged} ratios is clearly worse than it was."


def regressions(then: Report, now: Report) -> Iterator[str]:
    """Name each case that fails now, or whose ratio is worse than it was by more than chance."""
    known = {each.case.name: each for each in then.results if each.median is not None}
    for result in now.results:
        earlier, target = known.get(result.case.name), result.case.target
        if earlier is not None and result.failed:
            yield f"{result.case.name}: {result.why_missing}"
        if earlier is None or target.of != "ratio" or not earlier.median or not result.median:
            continue
        worse = result.median / earlier.median
        if target.bound == "at least":
            worse = 1 / worse
        if worse > _TOLERANCE:
            yield (
                f"{result.case.name}: {figure(worse)} times worse than it was "
                f"(ratio {figure(result.median)}, was {figure(earlier.median)})"
            )


if __name__ == "__main__":
    sys.exit(main())
