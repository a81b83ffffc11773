"""Every attempt, each on a fresh copy of one prepared token, with the daemon's registry watching."""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cardd_pkcs11.types import CustodyLevel
from tests.attacks.attempts import ON_SOFTHSM, ON_TPM
from tests.attacks.harness import Line, Target, carried_out
from tests.attacks.registry import Registry
from tests.attacks.targets import SoftHsmTarget, TpmTarget, copied_state, opened_tpm, prepare
from tests.support.softhsm import open_pool
from tests.support.tpm import running_tpm

Fresh = Callable[[], Target]


def attack(level: CustodyLevel, directory: Path) -> list[Line]:
    """Make every attempt on tokens of a level."""
    if level is CustodyLevel.HARDWARE:
        with tpm_targets(directory) as fresh:
            return carried_out(ON_TPM, fresh, Registry())
    return carried_out(ON_SOFTHSM, softhsm_targets(directory), Registry())


def softhsm_targets(directory: Path) -> Fresh:
    """Return what makes a SoftHSM target at every call."""
    prepared, numbers = directory / "prepared", itertools.count()
    held = asyncio.run(prepare(prepared, open_pool))

    def fresh() -> Target:
        state, workshop = copied_state(prepared, directory / f"{next(numbers)}")
        return SoftHsmTarget(state=state, workshop=workshop, **held)

    return fresh


@contextmanager
def tpm_targets(directory: Path) -> Iterator[Fresh]:
    """Run two TPMs, and give what makes a target in the first at every call."""
    prepared, numbers = directory / "prepared", itertools.count()
    with running_tpm(directory / "tpm") as tpm, running_tpm(directory / "other") as other:
        held = asyncio.run(prepare(prepared, opened_tpm(tpm)))

        def fresh() -> Target:
            state, workshop = copied_state(prepared, directory / f"{next(numbers)}")
            return TpmTarget(state=state, workshop=workshop, tpm=tpm, other=other, **held)

        yield fresh
