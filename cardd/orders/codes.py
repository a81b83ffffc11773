"""Revocation codes: chosen at retrieval, kept only as an Argon2id hash (RFC 9106), their tries counted.

A try is counted, and committed, before the code is looked at, so that neither a crash nor many
requests at once give more tries than the settings allow.
"""

import asyncio
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any

import msgspec
import sqlalchemy as sa
from argon2 import PasswordHasher, Type
from argon2.exceptions import InvalidHashError, VerificationError

from cardd.orders.errors import RevocationCodeIncorrectError, RevocationCodeLockedError
from cardd.orders.forms import Problems
from cardd.settings import OrderSettings
from cardd.store import Store
from cardd.store.tables import certificates
from cardd.text import Text


class CodePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What a revocation code may be, and how it is hashed."""

    shortest: int = 6
    longest: int = 64
    time_cost: int = 3
    """Passes over the memory."""
    memory_kib: int = 64 * 1024
    """Memory, in KiB; with the time cost and lanes, the second recommended option of RFC 9106 §4."""
    lanes: int = 4
    hash_bytes: int = 32
    salt_bytes: int = 16


CODE_POLICY = CodePolicy()

#: The values of a certificate's row that take back the count of wrong codes.
NO_TRIES_SPENT: Mapping[str, Any] = MappingProxyType({"code_failures": 0, "code_locked_until": None})


def check_code(code: str, confirmation: str, problems: Problems, policy: CodePolicy = CODE_POLICY) -> str:
    """Check a code as chosen, typed twice; return it in the form that is hashed (NFC)."""
    chosen = _normalised(code)
    if not policy.shortest <= len(chosen) <= policy.longest:
        problems.add(
            "revocation_code",
            Text(
                f"must have {policy.shortest} to {policy.longest} characters",
                f"doit compter de {policy.shortest} à {policy.longest} caractères",
            ),
        )
    elif not chosen.isprintable():
        problems.add(
            "revocation_code",
            Text("must hold printable characters only", "ne doit contenir que des caractères imprimables"),
        )
    if chosen != _normalised(confirmation):
        problems.add("confirmation", Text("differs from the code", "diffère du code"))
    return chosen


async def hash_code(code: str, policy: CodePolicy = CODE_POLICY) -> str:
    """Return the Argon2id hash of a code, computed beside the loop."""
    return await asyncio.to_thread(_hasher(policy).hash, _normalised(code))


async def code_matches(code_hash: str, code: str) -> bool:
    """Tell whether `code` is the one that was hashed, at the cost written in the hash, beside the loop."""
    return await asyncio.to_thread(_matches, code_hash, code)


async def spend_try(store: Store, serial: str, code: str, settings: OrderSettings) -> None:
    """Check a certificate's code; return where it is right.

    Raises `RevocationCodeIncorrectError` (`tries_left`), and `RevocationCodeLockedError`
    (`retry_after`, in seconds) once `code_tries` wrong codes came in a row. The count is taken back by
    `NO_TRIES_SPENT`, in the transaction that the right code opens.
    """
    code_hash, tries_left = await _count_try(store, serial, settings)
    if code_hash is None or not await code_matches(code_hash, code):
        await _journal_refusal(store, serial, tries_left)
        raise RevocationCodeIncorrectError(
            Text(
                f"The code is wrong; {tries_left} tries are left.",
                f"Le code est faux ; il reste {tries_left} essai(s).",
            ),
            tries_left=tries_left,
        )


async def _count_try(store: Store, serial: str, settings: OrderSettings) -> tuple[str | None, int]:
    """Count one try; return the hash and the tries left should this one be wrong."""
    async with store.transaction() as tx:
        statement = sa.select(
            certificates.c.revocation_code_hash,
            certificates.c.code_failures,
            certificates.c.code_locked_until,
        )
        row = (await tx.execute(statement.where(certificates.c.serial == serial).with_for_update())).one()
        lock = timedelta(minutes=settings.code_lock_minutes)
        # A lock that would last longer than locks do is of a time before the clock was set back, and over.
        if row.code_locked_until is not None and tx.now < row.code_locked_until <= tx.now + lock:
            raise _locked(row.code_locked_until, tx.now)
        failures = 1 if row.code_locked_until is not None else row.code_failures + 1
        is_last = failures >= settings.code_tries
        locked_until = tx.now + lock if is_last else None
        await tx.execute(
            sa.update(certificates)
            .where(certificates.c.serial == serial)
            .values(code_failures=failures, code_locked_until=locked_until)
        )
    return row.revocation_code_hash, max(settings.code_tries - failures, 0)


async def _journal_refusal(store: Store, serial: str, tries_left: int) -> None:
    async with store.transaction() as tx:
        tx.journal("certificate.code_refused", f"certificate:{serial}", tries_left=tries_left)


def _locked(until: datetime, now: datetime) -> RevocationCodeLockedError:
    seconds = max(1, -int((now - until).total_seconds() // 1))
    return RevocationCodeLockedError(
        Text(
            f"The next code is taken in {seconds} seconds.",
            f"Le prochain code sera accepté dans {seconds} secondes.",
        ),
        retry_after=seconds,
    )


def _hasher(policy: CodePolicy) -> PasswordHasher:
    return PasswordHasher(
        time_cost=policy.time_cost,
        memory_cost=policy.memory_kib,
        parallelism=policy.lanes,
        hash_len=policy.hash_bytes,
        salt_len=policy.salt_bytes,
        type=Type.ID,
    )


def _matches(code_hash: str, code: str) -> bool:
    try:
        return PasswordHasher().verify(code_hash, _normalised(code))
    except (VerificationError, InvalidHashError):
        return False


def _normalised(code: str) -> str:
    return unicodedata.normalize("NFC", code)
