"""The journal's chain: whatever is done to its lines is seen."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from cardd.audit import GENESIS_HASH, JournalEntry, chain_hash, verify_chain

START = datetime(2026, 1, 1, tzinfo=UTC)


def _chain(length: int) -> list[JournalEntry]:
    entries: list[JournalEntry] = []
    previous = GENESIS_HASH
    for seq in range(1, length + 1):
        at = START + timedelta(seconds=seq)
        line = {"actor": "owner", "action": "order.create", "subject": f"order:{seq}", "details": {"n": seq}}
        line_hash = chain_hash(seq, at, previous_hash=previous, **line)  # type: ignore[arg-type]
        entry = {"seq": seq, "at": at, "previous_hash": previous, "hash": line_hash, **line}
        entries.append(msgspec.convert(entry, JournalEntry))
        previous = line_hash
    return entries


def test_an_untouched_journal_is_valid() -> None:
    entries = _chain(5)
    report = verify_chain(entries, head_seq=5, head_hash=entries[-1].hash)
    assert (report.valid, report.entries, report.broken_at) == (True, 5, None)


def test_an_empty_journal_is_valid() -> None:
    assert verify_chain([], head_seq=0, head_hash=GENESIS_HASH).valid


@pytest.mark.parametrize(
    "change",
    [{"actor": "x"}, {"details": {"n": 9}}, {"at": START}, {"subject": "order:9"}, {"action": "none"}],
)
def test_a_changed_line_is_found(change: dict[str, object]) -> None:
    entries = _chain(5)
    entries[2] = msgspec.structs.replace(entries[2], **change)
    report = verify_chain(entries, head_seq=5, head_hash=entries[-1].hash)
    assert (report.valid, report.broken_at) == (False, 3)


def test_a_removed_line_is_found() -> None:
    entries = _chain(5)
    head = entries[-1].hash
    del entries[1]
    assert verify_chain(entries, head_seq=5, head_hash=head).broken_at == 2


def test_lines_cut_off_the_end_are_missed() -> None:
    entries = _chain(5)
    report = verify_chain(entries[:3], head_seq=5, head_hash=entries[-1].hash)
    assert (report.valid, report.broken_at) == (False, 4)


def test_a_line_rewritten_with_its_hash_breaks_the_next() -> None:
    entries = _chain(5)
    forged = msgspec.structs.replace(entries[1], actor="intruder")
    forged_hash = chain_hash(
        2, forged.at, actor="intruder", action=forged.action, subject=forged.subject,
        details=forged.details, previous_hash=forged.previous_hash,
    )  # fmt: skip
    entries[1] = msgspec.structs.replace(forged, hash=forged_hash)
    assert verify_chain(entries, head_seq=5, head_hash=entries[-1].hash).broken_at == 3
