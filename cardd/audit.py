"""The journal: every state change is a line, and each line carries the hash of the one before.

Changing, removing or inserting a line breaks the chain at that place; cutting lines off its end
is seen because the head, kept apart, no longer matches.
"""

import hashlib
from collections.abc import Iterable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

import msgspec

#: `previous_hash` of the first line: SHA-256 of nothing written as zeros.
GENESIS_HASH = "0" * 64

#: Who acts in this context: `owner`, `card:<serial>`, `application:<id>`, or `daemon`.
current_actor: ContextVar[str] = ContextVar("current_actor", default="daemon")


#: The application that acts, where it does so in another's name: with the session of a card.
current_application: ContextVar[str | None] = ContextVar("current_application", default=None)


class JournalEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the journal; hashes are lower-case hexadecimal SHA-256."""

    seq: int
    at: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, Any]
    previous_hash: str
    hash: str


class ChainReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification of the journal found; `broken_at` is the first line that does not fit."""

    valid: bool
    entries: int
    head: str
    broken_at: int | None = None
    reason: str | None = None


def chain_hash(
    seq: int,
    at: datetime,
    *,
    actor: str,
    action: str,
    subject: str,
    details: dict[str, Any],
    previous_hash: str,
) -> str:
    """Return the hash of a line: SHA-256 over its canonical JSON, the previous hash included."""
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    encoded = msgspec.json.encode(
        [seq, moment, actor, action, subject, details, previous_hash], order="deterministic"
    )
    return hashlib.sha256(encoded).hexdigest()


class ChainCheck:
    """A check of a journal that is taken piece by piece, from its first line on."""

    def __init__(self) -> None:
        self._count, self._previous = 0, GENESIS_HASH
        self._broken: ChainReport | None = None

    def take(self, entries: Iterable[JournalEntry]) -> None:
        """Check further lines, each against the one before it."""
        for entry in entries:
            if self._broken is not None:
                return
            self._take(entry)

    def report(self, *, head_seq: int, head_hash: str) -> ChainReport:
        """Return what was found, the last line checked against the head."""
        if self._broken is not None:
            return self._broken
        if (self._count, self._previous) != (head_seq, head_hash):
            return self._break(self._count + 1, "lines are missing at the end")
        return ChainReport(valid=True, entries=self._count, head=self._previous)

    def _take(self, entry: JournalEntry) -> None:
        expected = chain_hash(
            self._count + 1,
            entry.at,
            actor=entry.actor,
            action=entry.action,
            subject=entry.subject,
            details=entry.details,
            previous_hash=self._previous,
        )
        if entry.seq != self._count + 1:
            self._broken = self._break(self._count + 1, "a line is missing or inserted")
        elif entry.previous_hash != self._previous or entry.hash != expected:
            self._broken = self._break(entry.seq, "the line was changed")
        else:
            self._count, self._previous = entry.seq, entry.hash

    def _break(self, at: int, reason: str) -> ChainReport:
        return ChainReport(valid=False, entries=self._count, head=self._previous, broken_at=at, reason=reason)


def verify_chain(entries: Iterable[JournalEntry], *, head_seq: int, head_hash: str) -> ChainReport:
    """Check every line against the one before it and the last line against the head."""
    check = ChainCheck()
    check.take(entries)
    return check.report(head_seq=head_seq, head_hash=head_hash)
