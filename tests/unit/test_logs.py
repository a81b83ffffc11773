"""Logs: readable by machines, and without secrets."""

import io
import logging
from typing import Literal

import msgspec
import pytest
import structlog

from cardd.logs import configure_logs, redact
from cardd.settings import LogSettings


@pytest.fixture(autouse=True)
def _restored_logging() -> object:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize(
    "event",
    [
        {"event": "login", "pin": "4711"},
        {"event": "login with pin=4711"},
        {"event": "request", "headers": {"Authorization": "Bearer 4711"}},
        {"event": "request", "headers": ["Authorization: Bearer 4711"]},
        {"event": "retrieval", "revocation_code": "4711", "confirmation": "4711"},
        {"event": 'body {"pin": "4711"}'},
        {"event": "uri", "uri": "pkcs11:token=a?pin-value=4711"},
        {"event": "change", "old": "4711", "new": "4711"},
    ],
)
def test_a_secret_never_leaves_the_redacting_processor(event: dict[str, object]) -> None:
    assert "4711" not in repr(redact(None, "info", event))


def test_what_is_not_secret_stays() -> None:
    event = {"event": "certificate issued", "serial": "ab12", "tries_left": 2}
    assert redact(None, "info", event) == event


def test_json_logs_are_one_object_a_line_with_exceptions_redacted() -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(format="json"), stream)
    log = structlog.get_logger("cardd.test")
    log.info("order created", order="o1", pin="4711")
    try:
        raise ValueError("refused pin=4711")
    except ValueError:
        log.exception("failed")
    logging.getLogger("library").warning("token Bearer 4711")
    lines = [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]
    assert [line["event"] for line in lines] == ["order created", "failed", "token Bearer ***"]
    assert lines[0]["pin"] == "***"
    assert lines[0]["level"] == "info"
    assert "4711" not in stream.getvalue()


def test_console_logs_hide_secrets_too() -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(format="console"), stream)
    structlog.get_logger("cardd.test").info("login", pin="4711", card="00000001")
    assert "4711" not in stream.getvalue()
    assert "00000001" in stream.getvalue()


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(format="json", level="warning"), stream)
    structlog.get_logger("cardd.test").info("quiet")
    assert stream.getvalue() == ""


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variable(form: Literal["json", "console"]) -> None:
    stream = io.StringIO()
    configure_logs(LogSettings(format=form), stream)
    values = {"typed": ["".join(("MAR", "KED"))]}
    try:
        raise LookupError(str(len(values)))
    except LookupError:
        structlog.get_logger("cardd.test").exception("failed")
    assert "LookupError" in stream.getvalue()
    assert "MARKED" not in stream.getvalue()
