"""Validation whose library comes with the first certificate: it is a tenth of what a start would import.

Most daemons never validate; those that do wait once, and their event loop does not.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cardd.clock import Clock
from cardd.revocation.trust import TrustStore
from cardd.revocation.types import PolicyChoice, Revocation
from cardd.revocation.verdicts import ValidationRequest, ValidationView
from cardd.text import Language

if TYPE_CHECKING:
    from cardd.revocation.validation import Validation


@dataclass
class LateValidation:
    """Validates certificates as `Validation` does, which it makes of its parts when it is first asked."""

    trust: TrustStore
    revocation: Revocation
    clock: Clock
    policies: PolicyChoice
    _made: "Validation | None" = None

    async def validate(
        self, request: ValidationRequest, language: Language = "en", callers: Iterable[str] = ()
    ) -> ValidationView:
        """Validate a certificate; see `Validation.validate`."""
        if self._made is None:
            kind = await asyncio.to_thread(_imported)
            self._made = self._made or kind(self.trust, self.revocation, self.clock, self.policies)
        return await self._made.validate(request, language, callers)


def _imported() -> "type[Validation]":
    from cardd.revocation.validation import Validation  # noqa: PLC0415  slow to import; see above

    return Validation
