"""Asks whether packages of the locks are known to be vulnerable (pip-audit); where nobody can be asked, says so."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

TOP = Path(__file__).resolve().parent.parent
_LOCKS = ("requirements.lock", "requirements-dev.lock")
_SECONDS = 120


def audit(lock: str) -> list[dict[str, Any]] | None:
    """Return what is said of each package of a lock; None where nothing answers."""
    command = [sys.executable, "-m", "pip_audit", "--require-hashes", "--disable-pip", "--progress-spinner=off",
               "--format=json", "--requirement", str(TOP / lock)]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_SECONDS)  # noqa: S603 (a fixed command)
        answers: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError):
        return None
    return answers


def main() -> int:
    """Ask about every lock."""
    code = 0
    for lock in _LOCKS:
        answers = audit(lock)
        asked = [each for each in answers or () if "skip_reason" not in each]
        if answers is None or not asked:
            print(f"{lock}: not audited, for no vulnerability service answers from here.", file=sys.stderr)
            continue
        left_out = len(answers) - len(asked)
        print(
            f"{lock}: {len(asked)} packages audited"
            + (f", {left_out} unknown to the service" if left_out else "")
        )
        for package in asked:
            for known in package["vulns"]:
                fixed = ", ".join(known["fix_versions"]) or "none yet"
                print(
                    f"{package['name']} {package['version']}: {known['id']}, fixed in {fixed}",
                    file=sys.stderr,
                )
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
