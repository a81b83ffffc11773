"""The store room: tables, migrations and transactions."""

from cardd.store.database import Store, Transaction
from cardd.store.errors import IdempotencyKeyReusedError, StoreUnavailableError
from cardd.store.idempotency import RequestKey, current_request_key

__all__ = [
    "IdempotencyKeyReusedError",
    "RequestKey",
    "Store",
    "StoreUnavailableError",
    "Transaction",
    "current_request_key",
]
