"""The store room: tables, migrations and transactions."""

from cardd.store.backend import SEVERAL_MACHINES
from cardd.store.database import Store, Transaction
from cardd.store.errors import IdempotencyKeyReusedError, StoreUnavailableError
from cardd.store.idempotency import RequestKey, current_request_key
from cardd.store.postgresql import SharedDatabase

__all__ = [
    "SEVERAL_MACHINES",
    "IdempotencyKeyReusedError",
    "RequestKey",
    "SharedDatabase",
    "Store",
    "StoreUnavailableError",
    "Transaction",
    "current_request_key",
]
