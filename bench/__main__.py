"""`python -m bench`: every case beside its floor or peer, in one run; `make bench` installs what it needs."""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Collection, Sequence
from fnmatch import fnmatch
from pathlib import Path

import msgspec
from rich.console import Console

from bench.frame import Asked, Measured, perform
from bench.groups import GROUPS
from bench.report import report_of, summary, table

#: What shells give as the exit code of what was interrupted.
_INTERRUPTED = 130


def main() -> int:
    """Measure what is asked for and print it; 130 where it was interrupted."""
    arguments = _arguments()
    names = _selected(arguments.case)
    if arguments.list:
        sys.stdout.writelines(f"{name}\n" for name in names)
        return 0
    measured, interrupted = _measured(names, arguments)
    report = report_of(measured)
    if arguments.json:
        sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    else:
        Console(width=None if sys.stdout.isatty() else 180).print(table(report))
    return _INTERRUPTED if interrupted else 0


def _measured(names: Collection[str], arguments: argparse.Namespace) -> tuple[Sequence[Measured], bool]:
    """Measure until all is measured or somebody interrupts; tell which."""
    progress = Console(stderr=True)
    measured: list[Measured] = []
    try:
        with tempfile.TemporaryDirectory(prefix="cardd-bench-") as scratch:
            for group in GROUPS:
                directory = Path(scratch) / group.name
                directory.mkdir()
                asked = Asked(directory, names, arguments.peers)
                for each in perform(group, asked, rounds=arguments.rounds, progress=progress.print):
                    measured.append(each)
                    progress.print(f"  {summary(each)}")
                shutil.rmtree(directory)
    except KeyboardInterrupt:
        progress.print("Interrupted; this is what was measured until then.")
        return measured, True
    return measured, False


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
    # What is asked to end ends what it started, as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    code = main()
    sys.stdout.flush()
    # SoftHSM with OpenSSL 3 may crash in its exit handlers.
    os._exit(code)
