"""`python -m bench` from its command line: what it prints, and what an interruption leaves."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

import bench.__main__ as command
from bench.frame import Asked, Case, Group, Missing, Pair, Target, Work
from bench.report import Report

CASES = tuple(
    Case(name=f"g/{name}", ours=name, unit="ms", target=Target("ours", "at most", 2), rounds=2)
    for name in ("first", "broken", "peerless", "last")
)


def broken() -> float:
    raise RuntimeError("no token")


def interrupted() -> float:
    raise KeyboardInterrupt


def group(last: Pair) -> Group:
    @contextmanager
    def opened(asked: Asked) -> Iterator[Work]:
        assert asked.directory.is_dir()
        yield {
            "g/first": Pair(lambda: 1.0),
            "g/broken": Pair(broken),
            "g/peerless": Missing("the peers are not installed"),
            "g/last": last,
        }

    return Group("g", CASES, opened)


def run(monkeypatch: pytest.MonkeyPatch, last: Pair, *arguments: str) -> int:
    monkeypatch.setattr(command, "GROUPS", (group(last),))
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    return command.main()


def test_every_case_has_its_figures_or_says_why_not(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(monkeypatch, Pair(lambda: 3.0), "--json") == 0
    report = msgspec.json.decode(capfdbinary.readouterr().out, type=Report)
    assert [(each.case.name, each.ours, each.why_missing, each.failed) for each in report.results] == [
        ("g/first", 1.0, None, False),
        ("g/broken", None, "it failed: RuntimeError no token", True),
        ("g/peerless", None, "the peers are not installed", False),
        ("g/last", 3.0, None, False),
    ]


def test_what_was_measured_before_an_interruption_is_printed(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert run(monkeypatch, Pair(interrupted), "--json") == 130
    captured = capfdbinary.readouterr()
    report = msgspec.json.decode(captured.out, type=Report)
    assert [each.case.name for each in report.results] == ["g/first", "g/broken", "g/peerless"]
    assert b"Interrupted" in captured.err


def test_cases_are_named_and_selected(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, Pair(lambda: 3.0), "--list", "--case", "g/*st") == 0
    assert capsys.readouterr().out == "g/first\ng/last\n"
    with pytest.raises(SystemExit, match="no case is called nothing"):
        run(monkeypatch, Pair(lambda: 3.0), "--case", "nothing")
