"""Compromised keys: blocked for ever, and every certificate that shares one revoked in the same transaction."""

from typing import Any

import sqlalchemy as sa
import structlog

from cardd.custody.registry import HolderKind, block
from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.events import EventType
from cardd.igc.crl import RevocationReason as CrlReason
from cardd.orders.errors import AuthorityKeyError
from cardd.orders.filters import MANAGED_KINDS
from cardd.orders.notices import NoticeKind, queue
from cardd.orders.parts import OrderParts
from cardd.orders.types import BlockedKeyView, CertificateSerial, KeyBlockRequest, RevocationReason
from cardd.store import Transaction
from cardd.store.tables import blocked_keys, certificates, key_registry
from cardd.text import Text

_log = structlog.get_logger(__name__)

_COMPROMISED = RevocationReason.KEY_COMPROMISE.value


class KeyBlocks:
    """Blocks keys at the owner's word."""

    def __init__(self, parts: OrderParts) -> None:
        self._parts = parts

    async def block(self, spki_sha256: str, request: KeyBlockRequest) -> BlockedKeyView:
        """Block a key, known here or not; what its certificates are revoked by is published as for a revocation.

        Blocking it again revokes what is left and changes nothing else. Raises `InvalidFieldsError`, and
        `AuthorityKeyError` for a key of the PKI itself.
        """
        name = _checked(spki_sha256)
        async with self._parts.store.transaction() as tx:
            await _refuse_authority(tx, name)
            revoked = await block_and_revoke(tx, self._parts, name, request.reason)
            row = (await tx.execute(sa.select(blocked_keys).where(blocked_keys.c.spki_sha256 == name))).one()
            await tx.answer("blocked_key", name)
        await publish_lists(self._parts, name)
        return BlockedKeyView(
            public_key_sha256=name,
            reason=row.reason,
            blocked_at=row.blocked_at,
            revoked=tuple(map(CertificateSerial, revoked)),
        )


async def block_and_revoke(
    tx: Transaction, parts: OrderParts, spki_sha256: str, reason: str
) -> tuple[str, ...]:
    """Block a key and revoke every certificate in force that shares it; return their serials.

    After the commit the caller awaits `publish_lists`.
    """
    if await block(tx, spki_sha256, reason):
        subject = f"key:{spki_sha256}"
        tx.journal("key.blocked", subject, reason=reason)
        tx.publish(EventType.KEY_BLOCKED, subject, reason=reason)
    table = certificates
    sharing = sa.select(table.c.serial, table.c.issuer, table.c.contacts).where(
        table.c.spki_sha256 == spki_sha256,
        table.c.kind.in_(MANAGED_KINDS),
        table.c.revoked_at.is_(None),
        table.c.not_after >= tx.now,
    )
    rows = (await tx.execute(sharing.order_by(table.c.issued_at, table.c.serial))).all()
    for row in rows:
        await parts.pki.revoke_in(tx, row.serial, CrlReason.KEY_COMPROMISE)
        subject, facts = f"certificate:{row.serial}", {"reason": _COMPROMISED, "blocked_key": spki_sha256}
        tx.journal("certificate.revoked", subject, **facts)
        tx.publish(EventType.CERTIFICATE_REVOKED, subject, **facts, issuer=row.issuer)
        await queue(tx, row.serial, NoticeKind.REVOKED, row.contacts)
    return tuple(row.serial for row in rows)


async def publish_lists(parts: OrderParts, subject: str) -> None:
    """Publish the lists that a revocation wants, large ones after this; it stands committed, and upkeep tries again."""
    try:
        await parts.pki.lists.publish_wanted()
    except CarddError as error:
        _log.warning("orders.list_not_published_yet", subject=subject, why=error.code)


async def _refuse_authority(tx: Transaction, name: str) -> None:
    held = sa.select(key_registry).where(
        key_registry.c.spki_sha256 == name, key_registry.c.holder_kind == HolderKind.CA.value
    )
    row: sa.Row[Any] | None = (await tx.execute(held)).first()
    if row is not None:
        raise AuthorityKeyError(
            Text(
                f"It is the key of {row.holder}, under which the PKI’s certificates stand.",
                f"C’est la clé de {row.holder}, sur laquelle reposent les certificats de l’IGC.",
            ),
            holder=row.holder,
        )


def _checked(spki_sha256: str) -> str:
    """Return a name of a public key in lower case."""
    name = spki_sha256.lower()
    if len(name) == _DIGITS and set(name) <= _HEXADECIMAL:
        return name
    problem = Text(
        "must be the SHA-256 of a SubjectPublicKeyInfo: 64 hexadecimal digits",
        "doit être le SHA-256 d’un SubjectPublicKeyInfo : 64 chiffres hexadécimaux",
    )
    raise InvalidFieldsError([FieldProblem("spki_sha256", problem)])


_DIGITS = 64
_HEXADECIMAL = frozenset("0123456789abcdef")
