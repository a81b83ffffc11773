"""Clients of the daemon's API, to be embedded in other programs: `Client` and, on asyncio, `AsyncClient`.

The typed calls about revocation, validation and trust are under `.revocation` of either; their types are
those of `cardd.client.revocation`.
"""

from cardd.client.answers import (
    ANSWER_SECONDS,
    API_PREFIX,
    STREAM_SECONDS,
    Answer,
    Page,
    Query,
    ServerEvent,
    read_events,
    segment,
)
from cardd.client.asynchronous import AsyncClient
from cardd.client.errors import (
    AddressNotLocalError,
    DaemonUnreachableError,
    Problem,
    ProblemError,
    UnexpectedAnswerError,
)
from cardd.client.sync import Client

__all__ = [
    "ANSWER_SECONDS",
    "API_PREFIX",
    "STREAM_SECONDS",
    "AddressNotLocalError",
    "Answer",
    "AsyncClient",
    "Client",
    "DaemonUnreachableError",
    "Page",
    "Problem",
    "ProblemError",
    "Query",
    "ServerEvent",
    "UnexpectedAnswerError",
    "read_events",
    "segment",
]
