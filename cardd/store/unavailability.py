"""Telling a database that does not answer from a statement that is wrong."""

import sqlite3
from typing import Any

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionLeftError

from cardd.store.errors import StoreUnavailableError
from cardd.text import Text

#: Seconds after which a caller is told to try again.
RETRY_AFTER = 2

#: Classes of SQLSTATE with which PostgreSQL says “not now” (PostgreSQL manual, appendix A): connection exceptions,
#: read-only transactions, transactions rolled back or ended by a limit, resources, operators, system errors.
_NOT_NOW = ("08", "25", "40", "53", "55", "57", "58")


class unavailability:  # noqa: N801 (reads as a context at its uses)
    """Turn a database that does not answer into a `StoreUnavailableError`."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: Any, error: BaseException | None, _trace: Any) -> None:
        if error is not None and _is_not_now(error):
            raise unavailable(error) from error


def unavailable(error: BaseException) -> StoreUnavailableError:
    """Return the error for a database that failed with `error`, by its first line."""
    lines = str(getattr(error, "orig", None) or error).splitlines()
    reason = (lines[0] if lines else type(error).__name__).rstrip(".")
    return StoreUnavailableError(
        Text(
            f"The database cannot be used now: {reason}.",
            f"La base de données est inutilisable pour l’instant : {reason}.",
        ),
        retry_after=RETRY_AFTER,
    )


def _is_not_now(error: BaseException) -> bool:
    if isinstance(error, OperationalError | sqlite3.OperationalError | NoConnectionLeftError):
        return True
    if not isinstance(error, DBAPIError):
        return False
    return error.connection_invalidated or str(getattr(error.orig, "sqlstate", "")).startswith(_NOT_NOW)
