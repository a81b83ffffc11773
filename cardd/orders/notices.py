"""Notices to contacts: queued with the change they tell of, sent as e-mail where a server is configured.

Sixty days before a certificate ends (a setting) its contacts are told once, and an event says so
whether or not there is a mail server.
"""

import secrets
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum, unique
from typing import Any

import sqlalchemy as sa
import structlog

from cardd.clock import Clock
from cardd.events import EventType
from cardd.orders.mail import DeliveryError, Mailer
from cardd.settings import Settings
from cardd.store import Store, Transaction
from cardd.store.tables import certificates, notices

_log = structlog.get_logger(__name__)

#: Waits between the tries of one notice; after the last of them it is given up.
RETRY_AFTER = (timedelta(minutes=5), timedelta(hours=1), timedelta(hours=6), timedelta(days=1))
#: Most notices sent in one go, so that a turn of upkeep ends.
BATCH = 100


@unique
class NoticeKind(StrEnum):
    """What contacts are told."""

    RETRIEVED = "retrieved"
    EXPIRING = "expiring"
    REVOKED = "revoked"


async def queue(tx: Transaction, serial: str, kind: NoticeKind, recipients: Sequence[str]) -> None:
    """Queue a notice to each recipient, in the transaction of the change it tells of."""
    rows = [
        {
            "id": secrets.token_hex(8),
            "certificate_serial": serial,
            "kind": kind.value,
            "recipient": recipient,
            "due_at": tx.now,
            "attempts": 0,
        }
        for recipient in dict.fromkeys(recipients)
    ]
    if rows:
        await tx.execute(sa.insert(notices), rows)


class Notices:
    """Finds the certificates that near their end, and sends what waits."""

    def __init__(self, store: Store, clock: Clock, settings: Settings, mailer: Mailer | None = None) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._mailer = mailer or Mailer(settings.smtp)

    async def take_settings(self, settings: Settings) -> None:
        """Use another mail server from now on."""
        self._mailer = Mailer(settings.smtp)

    async def queue_due(self) -> int:
        """Tell of every active certificate that has come within its notice period; return how many.

        Each is told of once, by its own transaction: the event, the journal line and the notices.
        """
        now = self._clock.now()
        due = sa.select(certificates.c.serial).where(
            certificates.c.kind == "order",
            certificates.c.noticed_at.is_(None),
            certificates.c.revoked_at.is_(None),
            certificates.c.not_after >= now,
            certificates.c.not_after <= now + timedelta(days=self._settings.orders.notice_days),
        )
        async with self._store.read() as connection:
            serials = (await connection.execute(due.order_by(certificates.c.not_after))).scalars().all()
        return sum([await self._tell(serial) for serial in serials])

    async def send_pending(self) -> int:
        """Send the notices that are due, where a mail server is configured; return how many were sent."""
        if not self._mailer.configured:
            return 0
        # Further ahead than any pause between tries, it was planned before the clock was set back.
        is_due = sa.or_(
            notices.c.due_at <= self._clock.now(), notices.c.due_at > self._clock.now() + max(RETRY_AFTER)
        )
        statement = (
            sa.select(
                notices,
                certificates.c.common_name,
                certificates.c.not_after,
                certificates.c.revoked_at,
                certificates.c.revocation_reason,
            )
            .join(certificates, certificates.c.serial == notices.c.certificate_serial)
            .where(
                notices.c.sent_at.is_(None),
                is_due,
                notices.c.attempts <= len(RETRY_AFTER),
            )
            .order_by(notices.c.due_at, notices.c.id)
            .limit(BATCH)
        )
        async with self._store.read() as connection:
            rows = (await connection.execute(statement)).all()
        return sum([await self._send(row) for row in rows])

    async def _tell(self, serial: str) -> bool:
        async with self._store.transaction() as tx:
            changed = await tx.execute(
                sa.update(certificates)
                .where(
                    certificates.c.serial == serial,
                    certificates.c.noticed_at.is_(None),
                    certificates.c.revoked_at.is_(None),
                )
                .values(noticed_at=tx.now)
            )
            if changed.rowcount != 1:
                return False
            row = (await tx.execute(sa.select(certificates).where(certificates.c.serial == serial))).one()
            days_left = (row.not_after - tx.now).days
            subject = f"certificate:{serial}"
            tx.journal("certificate.expiring", subject, days_left=days_left)
            tx.publish(
                EventType.CERTIFICATE_EXPIRING,
                subject,
                common_name=row.common_name,
                not_after=row.not_after.isoformat(),
                days_left=days_left,
            )
            await queue(tx, serial, NoticeKind.EXPIRING, row.contacts)
        return True

    async def _send(self, row: sa.Row[Any]) -> bool:
        subject, body = wording(row)
        try:
            await self._mailer.send(row.recipient, subject, body)
        except DeliveryError as error:
            await self._note_failure(row, error)
            return False
        async with self._store.transaction() as tx:
            await tx.execute(
                sa.update(notices)
                .where(notices.c.id == row.id)
                .values(sent_at=tx.now, attempts=row.attempts + 1, last_error=None)
            )
            tx.journal(
                "notice.sent", f"certificate:{row.certificate_serial}", kind=row.kind, recipient=row.recipient
            )
        return True

    async def _note_failure(self, row: sa.Row[Any], error: DeliveryError) -> None:
        """Count a failed delivery; after the last try, or a refusal for good, say that nobody was told."""
        attempts = row.attempts + 1
        given_up = error.permanent or attempts > len(RETRY_AFTER)
        _log.warning("notices.not_sent", notice=row.id, attempts=attempts, given_up=given_up, why=str(error))
        async with self._store.transaction() as tx:
            values = {
                "attempts": len(RETRY_AFTER) + 1 if given_up else attempts,
                "last_error": str(error)[:500],
            }
            if not given_up:
                values["due_at"] = tx.now + RETRY_AFTER[attempts - 1]
            await tx.execute(sa.update(notices).where(notices.c.id == row.id).values(values))
            if given_up:
                subject = f"certificate:{row.certificate_serial}"
                tx.journal("notice.failed", subject, kind=row.kind, recipient=row.recipient)
                tx.publish(
                    EventType.CERTIFICATE_NOTICE_FAILED, subject, kind=row.kind, recipient=row.recipient
                )


def wording(row: sa.Row[Any]) -> tuple[str, str]:
    """Return the subject and the body of a notice: French first, then English."""
    french, english = _SENTENCES[NoticeKind(row.kind)]
    facts = {"name": row.common_name, "end": row.not_after, "revoked": row.revoked_at or row.not_after}
    serial = f"Numéro de série / serial number: {row.certificate_serial}"
    body = "\n\n".join([french.format(**facts), english.format(**facts), serial])
    return f"[IGC de test] {_SUBJECTS[NoticeKind(row.kind)]} : {row.common_name}", f"{body}\n"


_SUBJECTS = {
    NoticeKind.RETRIEVED: "certificat retiré / certificate retrieved",
    NoticeKind.EXPIRING: "certificat bientôt expiré / certificate about to expire",
    NoticeKind.REVOKED: "certificat révoqué / certificate revoked",
}

#: French and English by kind.
_SENTENCES = {
    NoticeKind.RETRIEVED: (
        "Le certificat de test « {name} » a été retiré. Il est valable jusqu’au {end:%d/%m/%Y %H:%M} UTC.",
        "The test certificate “{name}” was retrieved. It is valid until {end:%Y-%m-%d %H:%M} UTC.",
    ),
    NoticeKind.EXPIRING: (
        "Le certificat de test « {name} » prend fin le {end:%d/%m/%Y %H:%M} UTC : renouvelez-le avant.",
        "The test certificate “{name}” ends on {end:%Y-%m-%d %H:%M} UTC: renew it before then.",
    ),
    NoticeKind.REVOKED: (
        "Le certificat de test « {name} » a été révoqué le {revoked:%d/%m/%Y %H:%M} UTC, définitivement.",
        "The test certificate “{name}” was revoked on {revoked:%Y-%m-%d %H:%M} UTC, for ever.",
    ),
}
