"""The attacks as a person runs them: `python -m tests.attacks software` or `hardware`, from the project's directory.

Prints a line an attempt; ends with 1 where a copy was made at level `hardware`, or anything went unnoticed.
"""

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import pytest
import structlog

from cardd_pkcs11.types import CustodyLevel
from tests.attacks.campaign import attack
from tests.attacks.harness import failures, report


def main() -> int:
    """Attack, and tell what became of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description=__doc__)
    parser.add_argument(
        "level", choices=["software", "hardware"], help="SoftHSM, or a TPM in software (swtpm)"
    )
    level = CustodyLevel(parser.parse_args().level)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="cardd-attacks-") as directory:
        try:
            lines = attack(level, Path(directory))
        except pytest.skip.Exception as missing:
            print(missing, file=sys.stderr)
            return 2
    print(report(lines))
    failed = failures(lines, level)
    copied = sum(line.became.copied for line in lines)
    print(
        f"\n{len(lines)} attempts at level {level}: {copied} copies, {len(failed)} unnoticed or not allowed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
