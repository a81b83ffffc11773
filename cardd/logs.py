"""Logs: a console for people, JSON lines for machines, and no secret in either.

Everything, the standard library's loggers included, goes through one chain of processors to standard
error; its last step before rendering removes what must never be written.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog

from cardd.settings import LogSettings

REDACTED = "***"

#: Names of values that are secret whatever they hold.
_SECRET_NAMES = re.compile(
    r"(^|_)(pin|puk|so_pin|user_pin|password|passwd|secret|token_value|authorization|revocation_code|confirmation|"
    r"old|new|cookie|api_key|private_key)$",
    re.IGNORECASE,
)
#: Secrets inside text: bearer tokens, and `pin=1234`-like pairs.
_SECRET_TEXT = re.compile(
    r"(?P<before>\bBearer\s+|\b(?:pin-value|pin|puk|password|revocation_code|confirmation)[\"']?\s*[=:]\s*[\"']?)"
    r"(?P<secret>[^\s\"',;&}]+)",
    re.IGNORECASE,
)

EventDict = MutableMapping[str, Any]

#: Tracebacks without local variables: in them are PINs and codes under names that nobody can list.
_tracebacks = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Replace secrets by `***`, by the name of the value and inside text; a structlog processor."""
    return {name: _clean(name, value) for name, value in event.items()}


def configure_logs(settings: LogSettings, stream: TextIO | None = None) -> None:
    """Send every logger of the process through the chain, to `stream` (standard error by default)."""
    target = stream or sys.stderr
    as_console = settings.format == "console" or (settings.format == "auto" and target.isatty())
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer(
            colors=target.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if as_console
        else structlog.processors.JSONRenderer()
    )
    last = [redact, renderer] if as_console else [_tracebacks, redact, renderer]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
    )
    handler = logging.StreamHandler(target)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(settings.level.upper())
    for chatty in ("aiosqlite", "alembic", "asyncio", "aiohttp.access"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def _clean(name: str, value: Any) -> Any:
    if _SECRET_NAMES.search(name):
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(lambda found: found["before"] + REDACTED, value)
    if isinstance(value, dict):
        return {key: _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", inner) for inner in value]
    return value
