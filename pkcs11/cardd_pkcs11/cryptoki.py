"""What python-pkcs11 leaves out: C_InitToken, C_Login, C_Logout and the Init calls as such, and Cryptoki's codes.

The functions are reached through C_GetFunctionList (PKCS#11 v2.40 §5.4), the one symbol that every module
exports. Logging in on a session of its own keeps a refused PIN from leaking a session, and lets a session
outlive its login.
"""

import ctypes
import re
import sys
from enum import IntEnum
from typing import ClassVar

from pkcs11.exceptions import PKCS11Error

from cardd_pkcs11.errors import (
    Ckr,
    MechanismUnavailableError,
    NotLoggedInError,
    ObjectNotFoundError,
    PinIncorrectError,
    PinLengthError,
    PinLockedError,
    TokenError,
    TokenRemovedError,
)
from cardd_pkcs11.types import Secret

LABEL_BYTES = 32

#: After one of these, sessions, handles and caches of the token are worth nothing any more.
SESSION_GONE = frozenset({
    Ckr.DEVICE_REMOVED, Ckr.TOKEN_NOT_PRESENT, Ckr.TOKEN_NOT_RECOGNIZED, Ckr.SESSION_HANDLE_INVALID,
    Ckr.SESSION_CLOSED, Ckr.OBJECT_HANDLE_INVALID, Ckr.KEY_HANDLE_INVALID, Ckr.DEVICE_ERROR, Ckr.GENERAL_ERROR,
})  # fmt: skip

_REFUSED_MECHANISM = frozenset({
    Ckr.MECHANISM_INVALID, Ckr.MECHANISM_PARAM_INVALID, Ckr.KEY_TYPE_INCONSISTENT,
    Ckr.KEY_FUNCTION_NOT_PERMITTED, Ckr.FUNCTION_NOT_SUPPORTED, Ckr.CURVE_NOT_SUPPORTED, Ckr.KEY_SIZE_RANGE,
})  # fmt: skip

_IRREGULAR = {
    "TokenNotRecognised": Ckr.TOKEN_NOT_RECOGNIZED,
    "FunctionCancelled": Ckr.FUNCTION_CANCELED,
    "SlotIDInvalid": Ckr.SLOT_ID_INVALID,
    "AnotherUserAlreadyLoggedIn": Ckr.USER_ANOTHER_ALREADY_LOGGED_IN,
}


_VALUES = frozenset(map(int, Ckr))


class UserKind(IntEnum):
    """CK_USER_TYPE."""

    SECURITY_OFFICER = 0
    USER = 1


def ckr_of(error: PKCS11Error) -> Ckr | None:
    """Return the code behind one of python-pkcs11's exceptions, None where it is not a known one."""
    name = type(error).__name__
    if name in _IRREGULAR:
        return _IRREGULAR[name]
    if unmapped := re.search(r"0x[0-9a-fA-F]+", str(error)):
        return known(int(unmapped.group(), 16))
    return Ckr.__members__.get(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).upper())


def token_error(ckr: Ckr | None, doing: str) -> TokenError:
    """Return the error for a function that returned `ckr`; `doing` completes “cannot …”."""
    kind: type[TokenError] = TokenError
    if ckr in SESSION_GONE:
        kind = TokenRemovedError
    elif ckr in _REFUSED_MECHANISM:
        kind = MechanismUnavailableError
    elif ckr is not None:
        kind = _BY_CKR.get(ckr, TokenError)
    return kind(f"cannot {doing}", ckr=ckr)


_BY_CKR: dict[Ckr, type[TokenError]] = {
    Ckr.PIN_INCORRECT: PinIncorrectError,
    Ckr.PIN_LOCKED: PinLockedError,
    Ckr.PIN_LEN_RANGE: PinLengthError,
    Ckr.PIN_INVALID: PinLengthError,
    Ckr.USER_NOT_LOGGED_IN: NotLoggedInError,
    Ckr.USER_PIN_NOT_INITIALIZED: ObjectNotFoundError,
}


class _Version(ctypes.Structure):
    _fields_: ClassVar = [("major", ctypes.c_ubyte), ("minor", ctypes.c_ubyte)]


class _FunctionList(ctypes.Structure):
    """CK_FUNCTION_LIST up to C_SignInit; packed to one byte on Windows (PKCS#11 v2.40 §2.1)."""

    if sys.platform == "win32":
        _pack_ = 1
    _fields_: ClassVar = [("version", _Version), ("functions", ctypes.c_void_p * 43)]


class _Mechanism(ctypes.Structure):
    """CK_MECHANISM; packed to one byte on Windows."""

    if sys.platform == "win32":
        _pack_ = 1
    _fields_: ClassVar = [
        ("mechanism", ctypes.c_ulong),
        ("parameter", ctypes.c_void_p),
        ("length", ctypes.c_ulong),
    ]


#: C_…Init refuses for the want of parameters, which says that it knows the mechanism.
_KNOWN_MECHANISM = frozenset({Ckr.OK, Ckr.MECHANISM_PARAM_INVALID, Ckr.ARGUMENTS_BAD})
_SERIAL_SESSION = 4


class KeyOperation(IntEnum):
    """What a key is asked about: the place of its Init function in the list."""

    DECRYPT = 33
    SIGN = 42


class Functions:
    """A few functions of a module that python-pkcs11 has already loaded and initialised."""

    _INIT_TOKEN = 9
    _OPEN_SESSION = 12
    _CLOSE_SESSION = 13
    _LOGIN = 18
    _LOGOUT = 19

    def __init__(self, module_path: str) -> None:
        library = ctypes.CDLL(module_path)
        table = ctypes.POINTER(_FunctionList)()
        library.C_GetFunctionList.restype = ctypes.c_ulong
        result = library.C_GetFunctionList(ctypes.byref(table))
        if result != Ckr.OK:
            raise token_error(known(result), "read the module's function list")
        functions = table.contents.functions
        ulong, text = ctypes.c_ulong, ctypes.c_char_p
        self._init_token = ctypes.CFUNCTYPE(ulong, ulong, text, ulong, text)(functions[self._INIT_TOKEN])
        self._login = ctypes.CFUNCTYPE(ulong, ulong, ulong, text, ulong)(functions[self._LOGIN])
        self._logout = ctypes.CFUNCTYPE(ulong, ulong)(functions[self._LOGOUT])
        pointer, handle = ctypes.c_void_p, ctypes.POINTER(ulong)
        self._open_session = ctypes.CFUNCTYPE(ulong, ulong, ulong, pointer, pointer, handle)(
            functions[self._OPEN_SESSION]
        )
        self._close_session = ctypes.CFUNCTYPE(ulong, ulong)(functions[self._CLOSE_SESSION])
        begin = ctypes.CFUNCTYPE(ulong, ulong, ctypes.POINTER(_Mechanism), ulong)
        self._begin = {operation: begin(functions[operation]) for operation in KeyOperation}

    def init_token(self, slot_id: int, so_pin: Secret, label: str) -> None:
        """C_InitToken: everything on the token is destroyed (PKCS#11 v2.40 §5.5).

        Raises:
            TokenError: the label is longer than 32 bytes of UTF-8, or the module refuses.
        """
        padded = label.encode().ljust(LABEL_BYTES)
        if len(padded) > LABEL_BYTES:
            raise TokenError("a token's label has at most 32 bytes", ckr=Ckr.ARGUMENTS_BAD)
        pin = so_pin.reveal().encode()
        _check(self._init_token(slot_id, pin, len(pin), padded), "initialise a token")

    def login(self, session: int, user: UserKind, pin: Secret) -> None:
        """C_Login (PKCS#11 v2.40 §5.6).

        Raises:
            PinIncorrectError, PinLockedError, PinLengthError, TokenError: as the module says.
        """
        value = pin.reveal().encode()
        _check(self._login(session, user, value, len(value)), "log in")

    def logout(self, session: int) -> None:
        """C_Logout (PKCS#11 v2.40 §5.6).

        Raises:
            TokenError: as the module says.
        """
        _check(self._logout(session), "log out")

    def accepts(self, slot_id: int, key: int, operation: KeyOperation, mechanism: int) -> bool:
        """Tell whether a key takes a mechanism: C_SignInit or C_DecryptInit alone, in a session that is closed.

        Nothing is signed or decrypted. The login of the token's other session holds for it
        (PKCS#11 v2.40 §5.6).

        Raises:
            TokenError: no session can be opened.
        """
        session = ctypes.c_ulong()
        opened = self._open_session(slot_id, _SERIAL_SESSION, None, None, ctypes.byref(session))
        _check(opened, "open a session")
        try:
            asked = _Mechanism(mechanism, None, 0)
            result = self._begin[operation](session.value, ctypes.byref(asked), key)
        finally:
            self._close_session(session.value)
        return known(result) in _KNOWN_MECHANISM


def _check(result: int, doing: str) -> None:
    if result != Ckr.OK:
        raise token_error(known(result), doing)


def known(result: int) -> Ckr | None:
    """Return the code of that value, None where it is not a known one (a vendor's, for instance)."""
    return Ckr(result) if result in _VALUES else None
