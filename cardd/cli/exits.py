"""The exit codes of the command line, as documented in docs/cli.md."""

from enum import IntEnum, unique

from cardd.client import (
    AddressNotLocalError,
    DaemonUnreachableError,
    ProblemError,
)
from cardd.errors import CarddError
from cardd.settings import SettingsError


@unique
class ExitCode(IntEnum):
    """What became of a command."""

    OK = 0
    #: The daemon refused the request: unknown identifier, invalid field, conflict.
    REFUSED = 1
    #: The command was not understood: unknown option, missing value, invalid settings.
    USAGE = 2
    #: No daemon answers.
    UNREACHABLE = 3
    #: The daemon, or the command itself, failed.
    FAILED = 4
    #: Token, card session, PIN or revocation code missing, wrong or locked; or not authorised.
    NOT_AUTHORISED = 5
    #: A verification was done and says no.
    CHECK_FAILED = 6
    #: Interrupted from the keyboard (128 + SIGINT).
    INTERRUPTED = 130


#: Unauthorised, Forbidden, Locked.
_NOT_AUTHORISED_STATUSES = frozenset({401, 403, 423})
_FIRST_SERVER_ERROR = 500


def exit_code_of(error: CarddError) -> ExitCode:
    """Return the exit code that tells of `error`."""
    if isinstance(error, SettingsError | AddressNotLocalError):
        return ExitCode.USAGE
    if isinstance(error, DaemonUnreachableError):
        return ExitCode.UNREACHABLE
    status = error.http_status if isinstance(error, ProblemError) else error.status
    if status in _NOT_AUTHORISED_STATUSES:
        return ExitCode.NOT_AUTHORISED
    return ExitCode.FAILED if status >= _FIRST_SERVER_ERROR else ExitCode.REFUSED
