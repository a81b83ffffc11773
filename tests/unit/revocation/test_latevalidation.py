"""Validation whose library comes late: the same verdicts, and no start that imports it."""

import asyncio
import subprocess
import sys
from pathlib import Path

from cardd.revocation.latevalidation import LateValidation
from cardd.revocation.verdicts import Result, ValidationRequest
from tests.support.validation import small_pki, validation

_LIBRARIES = "pyhanko_certvalidator", "asn1crypto"


async def test_verdicts_are_those_of_the_validation_that_it_makes(tmp_path: Path) -> None:
    model, request = validation(tmp_path), ValidationRequest(certificate=small_pki().leaf().pem)
    late = LateValidation(model.trust, model.revocation, model.clock, model.policies)
    views = await asyncio.gather(*(late.validate(request, "fr") for _ in range(3)))
    assert views == [await model.validate(request, "fr")] * 3
    assert views[0].result is Result.VALID


def test_a_daemon_starts_without_the_library() -> None:
    found = subprocess.run(
        [sys.executable, "-c", "import sys, cardd.daemon; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "cardd.revocation.latevalidation" in found
    assert [name for name in found if name.startswith(_LIBRARIES)] == []
