"""Cases beside their floors and peers, alternated in one run, and what they come to.

A group declares its cases as data and opens, once for all of them, what they are measured on. Each round of a case
takes one figure of ours and one of what stands beside it, in turns, so that whatever else the machine does meets both.
Every judgement is on ratios or on differences of a same run; see `bench.report` for how they are shown.
"""

import statistics
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

#: Why a case beside something of `bench/peers` cannot be measured.
PEERS_MISSING = "the peers are not installed: make bench does that"

_FAILED = "it failed:"
#: The sizes that curves go through.
GROWTH = (1_000, 10_000, 100_000, 1_000_000)


class Target(msgspec.Struct, frozen=True):
    """What a case must reach: a bound on ours ÷ beside, on ours − beside, on ours itself, or on a further figure."""

    of: Literal["ratio", "difference", "ours"]
    bound: Literal["at most", "at least"]
    number: float

    def met(self, figure: float) -> bool:
        """Tell whether a figure is within the bound."""
        return figure <= self.number if self.bound == "at most" else figure >= self.number


class Case(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table."""

    name: str
    """What `--case` selects: the group's name, a slash, its own."""
    ours: str
    beside: str | None = None
    unit: str
    target: Target
    rounds: int = 7


class Curve(msgspec.Struct, frozen=True, kw_only=True):
    """How figures grow with a size."""

    name: str
    title: str
    x: str
    """What the size counts."""
    unit: str
    sizes: tuple[int, ...]


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit of work takes of the processor, part by part: why a ratio is what it is."""

    name: str
    what: str


Declared = Case | Curve | Cost


@dataclass(frozen=True)
class Pair:
    """The work of a case; each call does one round and returns its figure in the case's unit."""

    ours: Callable[[], float]
    beside: Callable[[], float] | None = None


@dataclass(frozen=True)
class Points:
    """The work of a curve: figures by the name of their line, for one size."""

    at: Callable[[int], Mapping[str, float]]


@dataclass(frozen=True)
class Shares:
    """The work of a cost: milliseconds of the processor of one unit, by the name of the part."""

    of: Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class Missing:
    """Why a case, a curve or a cost cannot be measured here."""

    why: str


Offered = Pair | Points | Shares | Missing
Work = Mapping[str, Offered]


@dataclass(frozen=True)
class Asked:
    """What a group is opened for: a directory of its own, the names wanted, and the peers' own Python."""

    directory: Path
    names: Collection[str]
    peers: Path | None


@dataclass(frozen=True)
class Group:
    """Cases, curves and costs that are measured on the same ground."""

    name: str
    declared: Sequence[Declared]
    opened: Callable[[Asked], AbstractContextManager[Work]]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a case came to: medians of its rounds, in its unit, and median and spread of what its target is on."""

    case: Case
    rounds: int = 0
    ours: float | None = None
    beside: float | None = None
    median: float | None = None
    lowest: float | None = None
    highest: float | None = None
    met: bool | None = None
    why_missing: str | None = None

    @property
    def failed(self) -> bool:
        """Whether measuring it went wrong, rather than that something it needs is not here."""
        return self.why_missing is not None and self.why_missing.startswith(_FAILED)


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A measured curve: for each size, the figures by the name of their line."""

    curve: Curve
    points: tuple[tuple[int, dict[str, float]], ...] = ()
    why_missing: str | None = None


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """A measured cost: milliseconds of the processor of one unit, by the name of the part."""

    cost: Cost
    parts: dict[str, float] = {}
    why_missing: str | None = None


Measured = Result | Line | Spent


def measure(case: Case, work: Pair | Missing, rounds: int | None = None) -> Result:
    """Alternate the rounds of a case, the first of each pair in turns, and judge it."""
    if isinstance(work, Missing):
        return Result(case=case, why_missing=work.why)
    count = rounds or case.rounds
    ours: list[float] = []
    beside: list[float] = []
    for number in range(count):
        if work.beside is None:
            ours.append(work.ours())
        elif number % 2:
            ours.append(work.ours())
            beside.append(work.beside())
        else:
            beside.append(work.beside())
            ours.append(work.ours())
    figures = _judged(case.target, ours, beside)
    median = statistics.median(figures)
    return Result(
        case=case,
        rounds=count,
        ours=statistics.median(ours),
        beside=statistics.median(beside) if beside else None,
        median=median,
        lowest=min(figures),
        highest=max(figures),
        met=case.target.met(median),
    )


def trace(curve: Curve, work: Points | Missing) -> Line:
    """Measure a curve, size by size."""
    if isinstance(work, Missing):
        return Line(curve=curve, why_missing=work.why)
    return Line(curve=curve, points=tuple((size, dict(work.at(size))) for size in curve.sizes))


def account(cost: Cost, work: Shares | Missing) -> Spent:
    """Measure a cost."""
    if isinstance(work, Missing):
        return Spent(cost=cost, why_missing=work.why)
    return Spent(cost=cost, parts=dict(work.of()))


def perform(
    group: Group, asked: Asked, *, rounds: int | None, progress: Callable[[str], Any]
) -> Iterator[Measured]:
    """Open a group and measure what is asked of it, in the order of its declaration.

    What fails is told of where its figures would stand, and costs no other case its own.
    """
    wanted = [each for each in group.declared if each.name in asked.names]
    if not wanted:
        return
    progress(group.name)
    measured: set[str] = set()
    try:
        with group.opened(asked) as work:
            for each in wanted:
                progress(each.name)
                found = work.get(each.name, Missing("the group does not offer it"))
                measured.add(each.name)
                yield _one(each, found, rounds)
    except Exception as error:  # noqa: BLE001 (a group that cannot be opened leaves the others to be measured)
        for each in wanted:
            if each.name not in measured:
                yield _one(each, Missing(_reason(error)), rounds)


def _one(each: Declared, found: Offered, rounds: int | None) -> Measured:
    try:
        match each:
            case Case():
                return measure(each, _of_kind(Pair, found), rounds)
            case Curve():
                return trace(each, _of_kind(Points, found))
            case Cost():
                return account(each, _of_kind(Shares, found))
    except Exception as error:  # noqa: BLE001 (as above)
        return _missing(each, _reason(error))


def _missing(each: Declared, why: str) -> Measured:
    match each:
        case Case():
            return Result(case=each, why_missing=why)
        case Curve():
            return Line(curve=each, why_missing=why)
        case Cost():
            return Spent(cost=each, why_missing=why)


def _reason(error: Exception) -> str:
    """Say in one line what went wrong, the same on every machine."""
    match error:
        case subprocess.TimeoutExpired():
            text = f"took longer than {error.timeout:g} s: {_words(error.cmd)}"
        case subprocess.CalledProcessError():
            text = f"ended with {error.returncode}: {_words(error.cmd)}"
        case _:
            text = "".join(str(error).splitlines()[:1])
    return f"{_FAILED} {type(error).__name__} {text[:200]}".rstrip()


def _words(command: Sequence[str | Path]) -> str:
    """Return a command without the directories of what it names."""
    return " ".join(Path(word).name or str(word) for word in command)


def _judged(target: Target, ours: Sequence[float], beside: Sequence[float]) -> list[float]:
    if target.of == "ours":
        return list(ours)
    if target.of == "difference":
        return [one - other for one, other in zip(ours, beside, strict=True)]
    return [one / other for one, other in zip(ours, beside, strict=True)]


def _of_kind(kind: type[Any], found: Offered) -> Any:
    if not isinstance(found, kind | Missing):
        raise TypeError(f"a {kind.__name__} was expected, not {found!r}")
    return found
