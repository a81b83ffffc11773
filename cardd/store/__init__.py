"""The store room: tables, migrations and transactions."""

from cardd.store.database import Store, Transaction
from cardd.store.errors import IdempotencyKeyReusedError, StoreUnavailableError
from cardd.store.idempotency import RequestKey, current_request_key
from cardd.store.postgresql import SharedDatabase

__all__ = [
    "IdempotencyKeyReusedError",
    "RequestKey",
    "SharedDatabase",
    "Store",
    "StoreUnavailableError",
    "Transaction",
    "current_request_key",
]
