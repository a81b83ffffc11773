"""`python -m bench`: every case beside its floor or peer, in one run; `make bench` installs what it needs."""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import msgspec
from rich.console import Console

from bench.frame import Asked, Line, Result, perform
from bench.groups import GROUPS
from bench.report import report_of, table


def main() -> int:
    """Measure what is asked for and print it."""
    arguments = _arguments()
    names = _selected(arguments.case)
    if arguments.list:
        sys.stdout.writelines(f"{name}\n" for name in names)
        return 0
    progress = Console(stderr=True)
    measured: list[Result | Line] = []
    with tempfile.TemporaryDirectory(prefix="cardd-bench-") as scratch:
        for group in GROUPS:
            directory = Path(scratch) / group.name
            directory.mkdir()
            asked = Asked(directory, names, arguments.peers)
            measured += perform(group, asked, rounds=arguments.rounds, progress=progress.print)
    report = report_of(measured)
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    else:
        Console(width=None if sys.stdout.isatty() else 180).print(table(report))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--case", action="append", help="a case, or a pattern such as 'sign/*'; may be repeated"
    )
    parser.add_argument("--rounds", type=int, help="rounds a case, instead of its own number")
    parser.add_argument("--json", action="store_true", help="one JSON object, for bench-docs and bench-check")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--peers", type=Path, help="the Python that has the peers of bench/peers installed")
    return parser.parse_args()


def _selected(patterns: Sequence[str] | None) -> tuple[str, ...]:
    known = tuple(each.name for group in GROUPS for each in group.declared)
    if not patterns:
        return known
    found = tuple(name for name in known if any(fnmatch(name, pattern) for pattern in patterns))
    if not found:
        raise SystemExit(f"no case is called {', '.join(patterns)}; --list names them all")
    return found


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # SoftHSM with OpenSSL 3 may crash in its exit handlers.
    os._exit(code)
