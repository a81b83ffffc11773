"""Answers of the daemon, as its published types encode them."""

from datetime import UTC, datetime
from typing import Any

import msgspec

from cardd.cards.types import CardSerial, CardType, CardView, Holder, PinState, PinView
from cardd.orders.types import (
    CertificateSerial,
    CertificateState,
    CertificateView,
    HistoryEntry,
    Offer,
    OrderId,
    OrderState,
    OrderView,
    StructureId,
    StructureView,
)
from cardd.vocabulary import Usage

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
STRUCTURE = StructureView(id=StructureId("399999999800019"), name="CABINET DE TEST")
HISTORY = (HistoryEntry(at=NOW, action="order.created", actor="card:00000017", details={"service": "EMA"}),)


def card(serial: str = "00000017", **changes: Any) -> CardView:
    """A test card, present."""
    view = CardView(
        serial=CardSerial(serial),
        type=CardType.CPS,
        generation="CPS3",
        medium="softhsm",
        reader=f"cardd SoftHSM {serial}",
        module="softhsm2",
        present=True,
        holder=Holder(last_name="DEMO", first_name="Camille", identifier="899700000001"),
        certificates=(),
        pin=PinView(state=PinState.OK, tries_left=3),
        capabilities=(),
        habilitations=("h1",),
        issued_at=NOW,
        opposed=False,
        opposed_at=None,
        opposed_reason=None,
        opposes_at=NOW.replace(year=2029),
    )
    return msgspec.structs.replace(view, **changes)


SESSION = {
    "id": "session-1",
    "card": "00000017",
    "expires_at": NOW,
    "habilitations": [
        {"id": "h1", "structures": [STRUCTURE], "offers": [{"offer": "ORG", "usages": ["AUTH_CLI"]}]}
    ],
}


def order(**changes: Any) -> OrderView:
    """An order that waits to be retrieved."""
    view = OrderView(
        id=OrderId("order-1"),
        state=OrderState.TO_RETRIEVE,
        offer=Offer.ORG,
        usage=Usage.AUTH_CLI,
        structure=STRUCTURE,
        label="EMA",
        fields={"service": "EMA"},
        contacts=("me@example.org",),
        key_source="token",
        algorithm="rsa_2048",
        public_key_sha256="ab" * 32,
        custody="software",
        token="structure",
        pkcs11_uri="pkcs11:token=structure;id=%01",
        ordered_by="card:00000017",
        created_at=NOW,
        expires_at=NOW.replace(month=3, day=1),
        ended_at=None,
        renewal_of=None,
        certificate=None,
        history=HISTORY,
    )
    return msgspec.structs.replace(view, **changes)


def certificate(**changes: Any) -> CertificateView:
    """An active certificate."""
    view = CertificateView(
        serial=CertificateSerial("0a1b"),
        state=CertificateState.ACTIVE,
        offer=Offer.ORG,
        usage=Usage.AUTH_CLI,
        profile="ORG AUTH_CLI",
        structure=STRUCTURE,
        order=OrderId("order-1"),
        card=None,
        subject="CN=EMA",
        issuer="CN=TEST AC",
        common_name="EMA",
        not_before=NOW,
        not_after=NOW.replace(year=2029),
        days_left=1096,
        public_key_sha256="ab" * 32,
        custody="software",
        pkcs11_uri=None,
        contacts=("me@example.org",),
        issued_at=NOW,
        revoked_at=None,
        revocation_reason=None,
        certificate=b"\x30\x00",
        pem="-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
        chain=(),
        history=HISTORY,
    )
    return msgspec.structs.replace(view, **changes)
