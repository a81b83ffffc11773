"""Asking the machines with the CA keys: each in turn, over TLS 1.3 with both certificates pinned."""

import asyncio
from http import HTTPStatus

import aiohttp
import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cardd.errors import CarddError
from cardd.igc.issuing import IssuedCertificate, IssueRequest
from cardd.machines.errors import SigningMachineUnavailableError, SigningRefusedError
from cardd.machines.identity import MachineIdentity
from cardd.machines.registry import Machines, Peer
from cardd.text import Text

#: What is asked, below the address of a signing machine.
CERTIFICATES_PATH = "/v1/certificates"
OCSP_PATH = "/v1/ocsp"

_SECONDS = aiohttp.ClientTimeout(total=30, connect=3)
_LARGEST_ANSWER = 64 * 1024


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a signing machine refuses, as it tells it."""

    code: str
    en: str
    fr: str


class SigningMachines:
    """The machines that sign for this one; implements `cardd.igc.distant.DistantPki`."""

    def __init__(self, machines: Machines, identity: MachineIdentity) -> None:
        self._machines = machines
        self._identity = identity

    async def issue(self, request: IssueRequest) -> IssuedCertificate:
        """Have a certificate issued; what comes back is checked to be for the key asked.

        Raises:
            MachineNotEnrolledError: this machine may not ask.
            SigningMachineUnavailableError: none answers.
            SigningRefusedError: it is not due, or refused by rule.
        """
        body = await self._asked(CERTIFICATES_PATH, msgspec.json.encode(request))
        issued = msgspec.json.decode(body, type=IssuedCertificate)
        key = x509.load_der_x509_certificate(issued.der).public_key()
        if key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != request.public_key:
            raise SigningRefusedError(
                Text(
                    "The certificate that came back is for another key.",
                    "Le certificat reçu porte sur une autre clé.",
                )
            )
        return issued

    async def ocsp(self, request: bytes) -> bytes:
        """Have an OCSP request answered, both in DER; errors as for `issue`, but no refusal."""
        return await self._asked(OCSP_PATH, request)

    async def _asked(self, path: str, body: bytes) -> bytes:
        await self._machines.check_enrolled()
        failed: dict[str, str] = {}
        for peer in await self._machines.signing_peers():
            try:
                return await self._ask(peer, path, body)
            except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
                failed[peer.name] = str(error) or type(error).__name__
        told = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise SigningMachineUnavailableError(
            Text(
                f"No machine with the CA keys answers ({told or 'none is enrolled with an address'}).",
                f"Aucune machine détenant les clés d’AC ne répond ({told or 'aucune inscrite avec une adresse'}).",
            ),
            machines=failed,
            retry_after=5,
        )

    async def _ask(self, peer: Peer, path: str, body: bytes) -> bytes:
        """Ask one machine; raises what `aiohttp` raises, and `SigningRefusedError` where it refuses."""
        context = await asyncio.to_thread(self._identity.client_context, peer.certificate)
        connector = aiohttp.TCPConnector(ssl=context)
        async with (
            aiohttp.ClientSession(connector=connector, timeout=_SECONDS) as session,
            session.post(f"https://{peer.address}{path}", data=body, allow_redirects=False) as answer,
        ):
            content = await answer.content.read(_LARGEST_ANSWER)
            if answer.status != HTTPStatus.OK:
                raise _refusal(content)
            return content


def _refusal(content: bytes) -> CarddError:
    told = msgspec.json.decode(content, type=Refusal)
    return SigningRefusedError(Text(told.en, told.fr), refused_with=told.code)
