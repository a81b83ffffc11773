"""The CA keys on another machine: what is asked of it, and its OCSP answers."""

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Protocol
from urllib.parse import unquote

import structlog
from cryptography.x509 import ocsp

from cardd.errors import CarddError
from cardd.igc.answerers import Responder
from cardd.igc.issuing import IssuedCertificate, IssueRequest
from cardd.igc.names import CaName
from cardd.igc.ocsp import MAX_REQUEST_BYTES, OcspReply, unsuccessful

_log = structlog.get_logger(__name__)


class DistantPki(Protocol):
    """A machine that holds the CA keys."""

    async def issue(self, request: IssueRequest) -> IssuedCertificate:
        """Have a certificate issued; the machine checks for itself that it is due, and lints it.

        Raises `SigningMachineUnavailableError`, and what that machine refuses with.
        """

    async def ocsp(self, request: bytes) -> bytes:
        """Have an OCSP request answered, both in DER. Raises `SigningMachineUnavailableError`."""


class DistantOcsp:
    """OCSP answers that a machine with the responders' keys makes; none is kept here."""

    def __init__(self, distant: Callable[[], DistantPki]) -> None:
        self._distant = distant

    def invalidate(self, authority: CaName) -> None:
        """Forget nothing: nothing is kept."""

    def replace(self, responder: Responder) -> None:
        """Change nothing: the machine that answers has the certificate too."""

    async def answer_get(self, encoded: str, now: datetime) -> OcspReply:
        """Answer what follows `/ocsp/` in a path (RFC 5019 §5)."""
        try:
            request = base64.b64decode(unquote(encoded[: 2 * MAX_REQUEST_BYTES]), validate=True)
        except ValueError:
            return unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        return await self.answer_post(request, now)

    async def answer_post(self, request: bytes, now: datetime) -> OcspReply:  # noqa: ARG002 (the other's clock counts)
        """Answer a request in DER; `tryLater` where no machine does (RFC 6960 §2.3)."""
        if len(request) > MAX_REQUEST_BYTES:
            return unsuccessful(ocsp.OCSPResponseStatus.MALFORMED_REQUEST)
        try:
            return OcspReply(await self._distant().ocsp(request))
        except CarddError as error:
            _log.warning("ocsp.try_later", code=error.code, error=str(error))
            return unsuccessful(ocsp.OCSPResponseStatus.TRY_LATER)
