"""What an owner does about keys and tokens: see them, check them, prove where they are, and decide about copies."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.clock import Clock
from cardd.custody.chain import TokenChains
from cardd.custody.errors import token_errors_translated
from cardd.custody.evidence import Evidence
from cardd.custody.keychecks import check_public_key
from cardd.custody.keys import KeyMaker, MadeKey
from cardd.custody.sweep import Sweep
from cardd.custody.tokens import TokenKeeper, TokenPurpose, TokenRecord
from cardd.custody.types import (
    Decision,
    EvidenceView,
    KeyView,
    Quarantine,
    QuarantineOutcome,
    SweepReport,
)
from cardd.errors import ConflictError, NotFoundError
from cardd.igc.requests import make_request
from cardd.igc.tokensigner import TokenSigner
from cardd.orders.certificates import Certificates
from cardd.orders.errors import OrderEndedError
from cardd.orders.orders import Orders
from cardd.orders.types import CertificateSerial, OrderState, RevocationReason, RevocationRequest
from cardd.store import Store, current_request_key
from cardd.store.tables import certificates, key_registry, orders
from cardd.text import Text
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import KeyId, TokenSerial

_KIND = Text("key on a token of this instance", "clé sur un jeton de cette instance")
_log = structlog.get_logger(__name__)


class CaTokenNotRevocableError(ConflictError):
    """The CA keys' token cannot be given up within its own state."""

    code = "ca_token_not_revocable"
    title = Text("The CA keys cannot be revoked here", "Les clés d’AC ne peuvent pas être révoquées ici")
    default_advice = Text(
        "Release the token if it was only put back; otherwise begin a new state, whose PKI has new keys.",
        "Libérez le jeton s’il a seulement été restauré ; sinon créez un nouvel état, dont l’IGC aura d’autres clés.",
    )


@dataclass(frozen=True, kw_only=True)
class CustodyParts:
    """The parts that it is made from."""

    store: Store
    clock: Clock
    pool: TokenOperations
    keeper: TokenKeeper
    chains: TokenChains
    evidence: Evidence
    sweep: Sweep
    maker: KeyMaker
    orders: Orders
    certificates: Certificates


class KeyCustody:
    """The owner's view of keys."""

    def __init__(self, parts: CustodyParts) -> None:
        self._parts = parts

    async def keys(self) -> tuple[KeyView, ...]:
        """Return every key known or found, with its findings."""
        return await self._parts.sweep.keys()

    async def check(self) -> SweepReport:
        """Check every key now."""
        return await self._parts.sweep.perform()

    async def evidence(self, spki_sha256: str) -> EvidenceView:
        """Return the signed statement made with a key; raises `NotFoundError`."""
        return await self._parts.evidence.get(spki_sha256.lower())

    async def request(self, spki_sha256: str) -> bytes:
        """Return a certification request (PEM) signed by a key on a token, with evidence read back just now.

        Raises:
            NotFoundError: there is no such key.
            TokenFaultError: the token refused, or the key may not sign.
        """
        key = (
            sa.select(key_registry, orders.c.label)
            .outerjoin(orders, orders.c.spki_sha256 == key_registry.c.spki_sha256)
            .where(key_registry.c.spki_sha256 == spki_sha256.lower(), key_registry.c.key_id.is_not(None))
        )
        async with self._parts.store.read() as connection:
            row = (await connection.execute(key)).first()
        if row is None:
            raise NotFoundError.of(_KIND, spki_sha256)
        made = await self._read_back(TokenSerial(row.token_serial), KeyId(bytes.fromhex(row.key_id)))
        signer = TokenSigner(self._parts.pool, made.token_serial, made.key_id, made.spki)
        with token_errors_translated():
            request = await make_request(row.label or row.holder, self._parts.evidence.state(made), signer)
        return request.public_bytes(Encoding.PEM)

    async def quarantines(self) -> tuple[Quarantine, ...]:
        """Return the tokens in quarantine with their watch lists."""
        return await self._parts.chains.quarantines()

    async def export_pin(self, name: str) -> TokenRecord:
        """Write a token's PIN into a file for other programs; errors are those of `TokenKeeper.export_pin`."""
        return await self._parts.keeper.export_pin(name)

    async def withdraw_pin(self, name: str) -> TokenRecord:
        """Take an exported PIN back; errors are those of `TokenKeeper.withdraw_pin`."""
        return await self._parts.keeper.withdraw_pin(name)

    async def advance_chains(self) -> None:
        """Advance the chains of tokens that are new or were used often."""
        await self._parts.chains.advance_used(await self._parts.keeper.list())

    async def decide(self, name: str, decision: Decision) -> QuarantineOutcome:
        """Revoke everything on a token in quarantine, or trust it again.

        What was revoked before a failure stays revoked, and deciding again goes on.

        Raises:
            NotFoundError: this instance has no such token.
            NotQuarantinedError: it is not in quarantine.
            CaTokenNotRevocableError: it holds the CA keys.
        """
        record = await self._parts.keeper.get(name)
        revoked: tuple[CertificateSerial, ...] = ()
        if decision is Decision.RELEASE:
            await self._parts.chains.release(record)
        else:
            if record.purpose is TokenPurpose.PKI:
                raise CaTokenNotRevocableError(
                    Text(
                        f"The token “{record.label}” holds the keys that sign the revocation lists.",
                        f"Le jeton « {record.label} » porte les clés qui signent les listes de révocation.",
                    )
                )
            await self._parts.chains.require_quarantined(record)
            with _answered_as_a_whole():
                await self._cancel_orders(record.serial)
                revoked = await self._revoke_all(record.serial)
            await self._parts.keeper.retire(record)
            await self._parts.chains.give_up(record)
        return QuarantineOutcome(
            token_serial=record.serial, label=record.label, decision=decision, revoked=revoked
        )

    async def _read_back(self, serial: TokenSerial, key_id: KeyId) -> MadeKey:
        with token_errors_translated():
            spki = await self._parts.pool.public_key(serial, key_id)
            attributes = await self._parts.pool.key_attributes(serial, key_id)
        return MadeKey(
            key_id=key_id,
            token_serial=serial,
            spki=spki,
            algorithm=check_public_key(spki),
            level=self._parts.maker.level_of(serial),
            attributes=attributes,
        )

    async def _revoke_all(self, serial: TokenSerial) -> tuple[CertificateSerial, ...]:
        table, now = certificates, self._parts.clock.now()
        wanted = sa.select(table.c.serial).where(
            table.c.token_serial == serial, table.c.revoked_at.is_(None), table.c.not_after > now
        )
        async with self._parts.store.read() as connection:
            serials = (await connection.execute(wanted.order_by(table.c.serial))).scalars().all()
        request = RevocationRequest(reason=RevocationReason.KEY_COMPROMISE)
        for each in serials:
            await self._parts.certificates.revoke(each, request)
        return tuple(map(CertificateSerial, serials))

    async def _cancel_orders(self, serial: TokenSerial) -> None:
        waiting = sa.select(orders.c.id).where(
            orders.c.token_serial == serial, orders.c.state == OrderState.TO_RETRIEVE.value
        )
        async with self._parts.store.read() as connection:
            identifiers = (await connection.execute(waiting)).scalars().all()
        for each in identifiers:
            try:
                await self._parts.orders.cancel(each)
            except OrderEndedError:
                _log.info("custody.order_ended_before", order=each)


@contextmanager
def _answered_as_a_whole() -> Iterator[None]:
    """Keep the steps of a decision from binding its `Idempotency-Key` each to themselves."""
    bound = current_request_key.set(None)
    try:
        yield
    finally:
        current_request_key.reset(bound)
