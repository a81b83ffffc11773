"""What a machine with the CA keys signs for others: never bytes, always a thing that the shared database says is due.

For an order the request names the public key alone. Everything else comes from the order's row: that it waits to be
retrieved, that its key has proven itself, what the certificate says. For a test card, whose rows come with its
certificates, the profile, the structure, the number and the key are checked against the database. What is left goes
the way of every certificate: admitted, built from its profile, linted, signed.
"""

import asyncio
import hashlib
import ssl

import sqlalchemy as sa

from cardd.cards.identity import certified_card_number
from cardd.cards.types import CardSerial
from cardd.clock import Clock
from cardd.custody.registry import HolderKind, refuse_blocked, spki_hash
from cardd.igc.issuing import IssuedCertificate, IssueRequest, new_serial, serial_hex
from cardd.igc.names import StructurePersonSubject
from cardd.igc.pki import Pki
from cardd.igc.profiles import PROFILES, KeyMedium
from cardd.machines.errors import MachineNotEnrolledError, SigningRefusedError
from cardd.machines.identity import MachineIdentity, trust
from cardd.machines.registry import Machines, Peer
from cardd.orders.retrieval import due_request
from cardd.orders.types import HabilitationState
from cardd.store import Store
from cardd.store.tables import cards, habilitations, key_registry
from cardd.text import Text


class SigningDesk:
    """Answers the requests of other machines."""

    def __init__(
        self, store: Store, clock: Clock, pki: Pki, machines: Machines, identity: MachineIdentity
    ) -> None:
        self._identity = identity
        self._context: ssl.SSLContext | None = None
        self._store = store
        self._clock = clock
        self._pki = pki
        self._machines = machines

    async def context(self) -> ssl.SSLContext:
        """Return the TLS context of the port for others, which only enrolled machines pass."""
        trusted = [peer.certificate for peer in await self._machines.peers()]
        self._context = await asyncio.to_thread(self._identity.server_context, trusted)
        return self._context

    async def trust_enrolled(self) -> None:
        """Let the machines that were enrolled meanwhile through."""
        if self._context is not None:
            trusted = [peer.certificate for peer in await self._machines.peers()]
            await asyncio.to_thread(trust, self._context, trusted)

    async def caller(self, certificate: bytes) -> Peer:
        """Return the enrolled machine that showed a certificate (DER).

        Raises:
            MachineNotEnrolledError: it is none, or not any more.
        """
        for peer in await self._machines.peers():
            if peer.certificate == certificate:
                return peer
        shown = hashlib.sha256(certificate).hexdigest()[:16]
        raise MachineNotEnrolledError(
            Text(f"No machine is enrolled with the certificate {shown}….",
                 f"Aucune machine n’est inscrite avec le certificat {shown}….")
        )  # fmt: skip

    async def issue(self, peer: Peer, asked: IssueRequest) -> IssuedCertificate:
        """Issue the certificate that is due for a public key.

        Raises:
            SigningRefusedError: nothing is due for it.
            CarddError: what refuses a certificate before it is signed.
        """
        if self._pki.elsewhere:
            raise _refused("This machine has no CA keys.", "Cette machine n’a pas les clés d’AC.")
        name = spki_hash(asked.public_key)
        async with self._store.read() as connection:
            await refuse_blocked(connection, name)
            holder = (
                await connection.execute(sa.select(key_registry).where(key_registry.c.spki_sha256 == name))
            ).first()
        if holder is None:
            request = await self._card_request(asked)
        elif holder.holder_kind == HolderKind.ORDER:
            request = await due_request(self._store, holder.holder, self._clock.now())
        else:
            raise _refused("The key is certified already.", "La clé est déjà certifiée.")
        issued = await self._pki.issue(request)
        async with self._store.transaction() as tx:
            tx.journal(
                "certificate.signed_for_machine",
                f"certificate:{serial_hex(issued.serial)}",
                machine=peer.id,
                profile=request.profile.value,
                public_key_sha256=name,
            )
        return issued

    async def ocsp(self, request: bytes) -> bytes:
        """Answer an OCSP request as this machine's own responder does, in DER."""
        return (await self._pki.ocsp.answer_post(request, self._clock.now())).body

    async def _card_request(self, asked: IssueRequest) -> IssueRequest:
        """Return what is to be issued for a key of a card in the making."""
        if PROFILES[asked.profile].card_type is None or asked.medium is not KeyMedium.CARD:
            raise _refused("No order holds this key.", "Aucune commande ne détient cette clé.")
        approved = sa.select(habilitations.c.structure_id).where(
            habilitations.c.state == HabilitationState.APPROVED.value
        )
        async with self._store.read() as connection:
            structures = set((await connection.execute(approved)).scalars())
            made = (await connection.execute(sa.select(cards.c.serial))).scalars().all()
        subject = asked.subject
        unknown = isinstance(subject, StructurePersonSubject) and subject.unit not in structures
        if not structures or unknown:
            raise _refused("No habilitation covers this card.", "Aucune habilitation ne couvre cette carte.")
        if asked.card_serial in {certified_card_number(CardSerial(serial)) for serial in made}:
            raise _refused("The card is made already.", "La carte est déjà créée.")
        return IssueRequest(
            profile=asked.profile,
            subject=asked.subject,
            public_key=asked.public_key,
            serial=new_serial(),
            medium=KeyMedium.CARD,
            card_serial=asked.card_serial,
            profession=asked.profession,
        )


def _refused(en: str, fr: str) -> SigningRefusedError:
    return SigningRefusedError(Text(en, fr))
