"""Requests that may be sent twice: the first one's effect and its key are one transaction."""

from contextvars import ContextVar

import msgspec


class RequestKey(msgspec.Struct, frozen=True, kw_only=True):
    """An `Idempotency-Key` as one caller sent it, with the hash of the request it came with."""

    caller: str
    key: str
    request_sha256: str


#: The key of the request being handled, if it has one; `Transaction.answer` commits it with the effect.
current_request_key: ContextVar[RequestKey | None] = ContextVar("current_request_key", default=None)
