"""What can go wrong between a caller and a token: one tree, with Cryptoki's own code where there is one.

These errors know nothing of HTTP or languages; `cardd.custody.errors` translates them for people.
"""

from enum import IntEnum, StrEnum, unique
from typing import ClassVar

from cardd_pkcs11.types import PinFlags


@unique
class Ckr(IntEnum):
    """Return values of Cryptoki functions (PKCS#11 v2.40 §5.1)."""

    OK = 0x0000
    CANCEL = 0x0001
    HOST_MEMORY = 0x0002
    SLOT_ID_INVALID = 0x0003
    GENERAL_ERROR = 0x0005
    FUNCTION_FAILED = 0x0006
    ARGUMENTS_BAD = 0x0007
    ATTRIBUTE_READ_ONLY = 0x0010
    ATTRIBUTE_SENSITIVE = 0x0011
    ATTRIBUTE_TYPE_INVALID = 0x0012
    ATTRIBUTE_VALUE_INVALID = 0x0013
    DATA_INVALID = 0x0020
    DATA_LEN_RANGE = 0x0021
    DEVICE_ERROR = 0x0030
    DEVICE_MEMORY = 0x0031
    DEVICE_REMOVED = 0x0032
    ENCRYPTED_DATA_INVALID = 0x0040
    ENCRYPTED_DATA_LEN_RANGE = 0x0041
    FUNCTION_CANCELED = 0x0050
    FUNCTION_NOT_SUPPORTED = 0x0054
    KEY_HANDLE_INVALID = 0x0060
    KEY_SIZE_RANGE = 0x0062
    KEY_TYPE_INCONSISTENT = 0x0063
    KEY_FUNCTION_NOT_PERMITTED = 0x0068
    MECHANISM_INVALID = 0x0070
    MECHANISM_PARAM_INVALID = 0x0071
    OBJECT_HANDLE_INVALID = 0x0082
    OPERATION_ACTIVE = 0x0090
    OPERATION_NOT_INITIALIZED = 0x0091
    PIN_INCORRECT = 0x00A0
    PIN_INVALID = 0x00A1
    PIN_LEN_RANGE = 0x00A2
    PIN_EXPIRED = 0x00A3
    PIN_LOCKED = 0x00A4
    SESSION_CLOSED = 0x00B0
    SESSION_COUNT = 0x00B1
    SESSION_HANDLE_INVALID = 0x00B3
    SESSION_READ_ONLY = 0x00B5
    SESSION_EXISTS = 0x00B6
    TEMPLATE_INCOMPLETE = 0x00D0
    TEMPLATE_INCONSISTENT = 0x00D1
    TOKEN_NOT_PRESENT = 0x00E0
    TOKEN_NOT_RECOGNIZED = 0x00E1
    TOKEN_WRITE_PROTECTED = 0x00E2
    USER_ALREADY_LOGGED_IN = 0x0100
    USER_NOT_LOGGED_IN = 0x0101
    USER_PIN_NOT_INITIALIZED = 0x0102
    USER_TYPE_INVALID = 0x0103
    USER_ANOTHER_ALREADY_LOGGED_IN = 0x0104
    CURVE_NOT_SUPPORTED = 0x0140
    CRYPTOKI_NOT_INITIALIZED = 0x0190
    ACTION_PROHIBITED = 0x001B

    @property
    def cryptoki_name(self) -> str:
        """The name as the standard and every log writes it, such as `CKR_PIN_INCORRECT`."""
        return f"CKR_{self.name}"


@unique
class TokenErrorCode(StrEnum):
    """Names of the errors on the wire between a host and its client."""

    TOKEN_ERROR = "token_error"  # noqa: S105 - a name
    PIN_INCORRECT = "pin_incorrect"
    PIN_FINAL_TRY = "pin_final_try"
    PIN_LOCKED = "pin_locked"
    PIN_LENGTH = "pin_length"
    TOKEN_NOT_FOUND = "token_not_found"  # noqa: S105 - a name
    TOKEN_REMOVED = "token_removed"  # noqa: S105 - a name
    OBJECT_NOT_FOUND = "object_not_found"
    MECHANISM_UNAVAILABLE = "mechanism_unavailable"
    NOT_LOGGED_IN = "not_logged_in"
    HOST_LOST = "host_lost"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    SIGNATURE_MISMATCH = "signature_mismatch"
    MODULE_MISSING = "module_missing"
    PROTOCOL = "protocol"
    QUARANTINED = "token_quarantined"
    ELSEWHERE = "token_elsewhere"


class TokenError(Exception):
    """A token or its host refused or failed.

    `ckr` is Cryptoki's code where a Cryptoki function returned one; `pin` is the state of the user PIN
    where the PIN is what failed.
    """

    code: ClassVar[TokenErrorCode] = TokenErrorCode.TOKEN_ERROR

    def __init__(self, message: str, *, ckr: Ckr | None = None, pin: PinFlags | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.ckr = ckr
        self.pin = pin

    def __str__(self) -> str:
        return self.message if self.ckr is None else f"{self.message} ({self.ckr.cryptoki_name})"


class PinIncorrectError(TokenError):
    """The PIN was wrong and may have cost one try."""

    code = TokenErrorCode.PIN_INCORRECT


class PinFinalTryError(TokenError):
    """One try is left and the caller did not consent to use it; nothing was sent to the token."""

    code = TokenErrorCode.PIN_FINAL_TRY


class PinLockedError(TokenError):
    """The PIN is locked; no try was made."""

    code = TokenErrorCode.PIN_LOCKED


class PinLengthError(TokenError):
    """The PIN breaks the rules of its token for length or characters; no try was made."""

    code = TokenErrorCode.PIN_LENGTH


class TokenNotFoundError(TokenError):
    """No token of that serial is in any slot."""

    code = TokenErrorCode.TOKEN_NOT_FOUND


class TokenRemovedError(TokenError):
    """The token went away, or its sessions did; every session and cache of it has been dropped."""

    code = TokenErrorCode.TOKEN_REMOVED


class ObjectNotFoundError(TokenError):
    """The token holds no such object."""

    code = TokenErrorCode.OBJECT_NOT_FOUND


class MechanismUnavailableError(TokenError):
    """This key cannot do that through this module."""

    code = TokenErrorCode.MECHANISM_UNAVAILABLE


class NotLoggedInError(TokenError):
    """The operation needs a login that the host does not hold (any more); nothing was done."""

    code = TokenErrorCode.NOT_LOGGED_IN


class HostLostError(TokenError):
    """The host died in the middle of the call: whether the token carried it out is not known."""

    code = TokenErrorCode.HOST_LOST


class DeadlineExceededError(TokenError):
    """The call took too long; if it had begun, its host was killed and the outcome is not known."""

    code = TokenErrorCode.DEADLINE_EXCEEDED


class SignatureMismatchError(TokenError):
    """The token's signature does not verify with the public key expected; it was not handed out."""

    code = TokenErrorCode.SIGNATURE_MISMATCH


class ModuleMissingError(TokenError):
    """The PKCS#11 module is not installed, or cannot be loaded."""

    code = TokenErrorCode.MODULE_MISSING


class TokenQuarantinedError(TokenError):
    """The token is closed off: its keys are not to be used before its owner decides; nothing was sent to it."""

    code = TokenErrorCode.QUARANTINED


class TokenElsewhereError(TokenError):
    """The device does not open the token: another one made it, or it was cleared since."""

    code = TokenErrorCode.ELSEWHERE


class ProtocolError(TokenError):
    """Host and client do not understand each other: a frame is malformed or too large."""

    code = TokenErrorCode.PROTOCOL


def error_class(code: TokenErrorCode) -> type[TokenError]:
    """Return the class that `code` names on the wire."""
    return _BY_CODE[code]


_BY_CODE: dict[TokenErrorCode, type[TokenError]] = {
    TokenErrorCode.TOKEN_ERROR: TokenError,
    **{error.code: error for error in TokenError.__subclasses__()},
}
