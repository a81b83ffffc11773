"""From rows of the store to what the API shows of orders and certificates."""

from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.custody.possession import mechanisms_of, message
from cardd.igc import chain
from cardd.igc.names import CaName
from cardd.orders.parts import KeyPlace, OrderParts, key_uri
from cardd.orders.states import certificate_state, order_state
from cardd.orders.types import (
    CertificateSerial,
    CertificateState,
    CertificateSummary,
    CertificateView,
    HistoryEntry,
    Offer,
    OrderId,
    OrderState,
    OrderView,
    PossessionView,
    RevocationReason,
    StructureId,
    StructureView,
)
from cardd.store.tables import certificates, orders, structures, tokens
from cardd.vocabulary import Usage
from cardd_pkcs11.types import KeyAlgorithm

History = tuple[HistoryEntry, ...]

_STRUCTURE_NAME = structures.c.name.label("structure_name")
#: Label of a token that the daemon holds; a card's token, whose PIN its holder keeps, is not among them.
_TOKEN_LABEL = tokens.c.label.label("token_label")
_TOKEN_MODULE = tokens.c.module.label("token_module")
_CARD = "card"


def selected_orders() -> sa.Select[Any]:
    """Return the selection that `Views.order` shows rows of."""
    return (
        sa.select(
            orders,
            _STRUCTURE_NAME,
            _TOKEN_LABEL,
            _TOKEN_MODULE,
            certificates.c.serial.label("certificate_serial"),
        )
        .join(structures, structures.c.id == orders.c.structure_id)
        .outerjoin(tokens, tokens.c.serial == orders.c.token_serial)
        .outerjoin(certificates, certificates.c.order_id == orders.c.id)
    )


def selected_certificates() -> sa.Select[Any]:
    """Return the selection that `Views.certificate` and `Views.summary` show rows of."""
    return (
        sa.select(certificates, _STRUCTURE_NAME, _TOKEN_LABEL, _TOKEN_MODULE)
        .outerjoin(structures, structures.c.id == certificates.c.structure_id)
        .outerjoin(tokens, tokens.c.serial == certificates.c.token_serial)
    )


class Views:
    """Shows rows as they stand at the clock's present moment."""

    def __init__(self, parts: OrderParts) -> None:
        self._parts = parts

    @property
    def notice(self) -> timedelta:
        """How long before its end a certificate is renewable."""
        return timedelta(days=self._parts.settings.orders.notice_days)

    def order_state(self, row: sa.Row[Any]) -> OrderState:
        """Return where an order stands now."""
        return order_state(OrderState(row.state), row.expires_at, self._now)

    def certificate_state(self, row: sa.Row[Any]) -> CertificateState:
        """Return where a certificate stands now."""
        return certificate_state(
            revoked_at=row.revoked_at, not_after=row.not_after, now=self._now, notice=self.notice
        )

    def order(self, row: sa.Row[Any], history: History = ()) -> OrderView:
        """Show an order."""
        state = self.order_state(row)
        has_key = state in (OrderState.TO_RETRIEVE, OrderState.RETRIEVED)
        return OrderView(
            id=OrderId(row.id),
            state=state,
            offer=Offer(row.offer),
            usage=Usage(row.usage),
            structure=StructureView(id=StructureId(row.structure_id), name=row.structure_name),
            label=row.label,
            fields=row.fields,
            contacts=tuple(row.contacts),
            key_source=row.key_source,
            algorithm=row.algorithm,
            public_key_sha256=row.spki_sha256,
            custody=row.level,
            possession=self._possession(row, state),
            token=row.token_label,
            pkcs11_uri=self._key_uri(row, row.key_label or row.label) if has_key else None,
            ordered_by=f"card:{row.card_serial}",
            created_at=row.created_at,
            expires_at=row.expires_at,
            ended_at=row.ended_at,
            renewal_of=row.renewal_of,
            certificate=row.certificate_serial,
            history=history,
        )

    def summary(self, row: sa.Row[Any]) -> CertificateSummary:
        """Show a certificate in a list."""
        return CertificateSummary(
            serial=CertificateSerial(row.serial),
            state=self.certificate_state(row),
            offer=Offer(row.offer) if row.offer is not None else None,
            usage=Usage(row.usage) if row.usage is not None else None,
            structure=_structure(row),
            order=row.order_id,
            card=row.card_serial,
            common_name=row.common_name,
            not_before=row.not_before,
            not_after=row.not_after,
            days_left=_days_left(row.not_after, self._now),
            custody=row.level,
            issued_at=row.issued_at,
            revoked_at=row.revoked_at,
        )

    def certificate(self, row: sa.Row[Any], history: History) -> CertificateView:
        """Show a certificate with its chain, its issuer's certificate first."""
        summary = self.summary(row)
        above = chain.path(CaName(row.issuer), self._parts.pki.authorities)
        reason = row.revocation_reason
        return CertificateView(
            serial=summary.serial,
            state=summary.state,
            offer=summary.offer,
            usage=summary.usage,
            profile=row.profile,
            structure=summary.structure,
            order=summary.order,
            card=summary.card,
            subject=row.subject,
            issuer=row.issuer,
            common_name=summary.common_name,
            not_before=summary.not_before,
            not_after=summary.not_after,
            days_left=summary.days_left,
            public_key_sha256=row.spki_sha256,
            custody=summary.custody,
            pkcs11_uri=self._key_uri(row, None if row.kind == _CARD else row.key_label or row.common_name),
            contacts=tuple(row.contacts),
            issued_at=row.issued_at,
            revoked_at=summary.revoked_at,
            revocation_reason=RevocationReason(reason) if reason is not None else None,
            certificate=row.der,
            pem=chain.pem([x509.load_der_x509_certificate(row.der)]).decode("ascii"),
            chain=tuple(certificate.public_bytes(Encoding.DER) for certificate in above),
            history=history,
        )

    def _possession(self, row: sa.Row[Any], state: OrderState) -> PossessionView:
        if row.proven_at is not None:
            return PossessionView(state="proven", proven_at=row.proven_at)
        if state is not OrderState.TO_RETRIEVE:
            return PossessionView(state="required")
        standing = row.possession_expires_at > self._now
        return PossessionView(
            state="required",
            nonce=row.possession_nonce if standing else None,
            to_sign=message(row.id, row.possession_nonce) if standing else None,
            mechanisms=mechanisms_of(KeyAlgorithm(row.algorithm)),
            expires_at=row.possession_expires_at,
        )

    @property
    def _now(self) -> datetime:
        return self._parts.clock.now()

    def _key_uri(self, row: sa.Row[Any], label: str | None) -> str | None:
        if row.token_serial is None or row.key_id is None:
            return None
        place = KeyPlace(
            token_label=row.token_label,
            module=row.token_module,
            token_serial=row.token_serial,
            key_id=row.key_id,
            label=label,
            daemon_holds_pin=row.token_label is not None,
        )
        return key_uri(place, self._parts.vault)


def _structure(row: sa.Row[Any]) -> StructureView | None:
    if row.structure_id is None:
        return None
    return StructureView(id=StructureId(row.structure_id), name=row.structure_name)


def _days_left(not_after: datetime, now: datetime) -> int:
    return max(0, (not_after - now).days)
