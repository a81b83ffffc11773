"""Cryptoki called directly through ctypes, for what a careful library would not let one try.

Only for a process of its own: a module is loaded and initialised once.
"""

import ctypes
from collections.abc import Mapping
from ctypes import POINTER, byref, c_byte, c_char_p, c_ubyte, c_ulong, c_void_p
from pathlib import Path

from pkcs11 import Attribute, Mechanism, ObjectClass

from cardd_pkcs11.errors import Ckr

Value = bool | int | bytes

_SERIAL_AND_WRITABLE = 6
_USER = 1
_OK = 0
_KEY_UNEXTRACTABLE = 0x6A


class RefusedError(Exception):
    """A call's return value, by its name in the standard."""


class _Attribute(ctypes.Structure):
    _fields_ = (("type", c_ulong), ("value", c_void_p), ("length", c_ulong))


class _Mechanism(ctypes.Structure):
    _fields_ = (("mechanism", c_ulong), ("parameter", c_void_p), ("length", c_ulong))


class Cryptoki:
    """One module with one session, logged in as user on the token of a label."""

    def __init__(self, module: Path, label: str, pin: str) -> None:
        self._module = ctypes.CDLL(str(module))
        self._call("C_Initialize", None)
        self._session = c_ulong()
        slot = self._slot_of(label)
        self._call("C_OpenSession", slot, c_ulong(_SERIAL_AND_WRITABLE), None, None, byref(self._session))
        self._call("C_Login", self._session, c_ulong(_USER), c_char_p(pin.encode()), c_ulong(len(pin)))

    def find(self, kind: ObjectClass, key_id: bytes) -> int:
        """Return the handle of an object; raises `LookupError`."""
        template = _template({Attribute.CLASS: kind, Attribute.ID: key_id})
        self._call("C_FindObjectsInit", self._session, template, c_ulong(len(template)))
        found, count = c_ulong(), c_ulong()
        self._call("C_FindObjects", self._session, byref(found), c_ulong(1), byref(count))
        self._call("C_FindObjectsFinal", self._session)
        if count.value == 0:
            raise LookupError(key_id.hex())
        return found.value

    def read(self, handle: int, attribute: Attribute) -> bytes:
        """C_GetAttributeValue."""
        wanted = _Attribute(attribute, None, 0)
        self._call("C_GetAttributeValue", self._session, c_ulong(handle), byref(wanted), c_ulong(1))
        space = (c_ubyte * wanted.length)()
        wanted.value = ctypes.cast(space, c_void_p)
        self._call("C_GetAttributeValue", self._session, c_ulong(handle), byref(wanted), c_ulong(1))
        return bytes(space)

    def write(self, handle: int, attributes: Mapping[Attribute, Value]) -> None:
        """C_SetAttributeValue."""
        template = _template(attributes)
        self._call("C_SetAttributeValue", self._session, c_ulong(handle), template, c_ulong(len(template)))

    def copy(self, handle: int, attributes: Mapping[Attribute, Value]) -> int:
        """C_CopyObject."""
        template, made = _template(attributes), c_ulong()
        self._call(
            "C_CopyObject", self._session, c_ulong(handle), template, c_ulong(len(template)), byref(made)
        )
        return made.value

    def create(self, attributes: Mapping[Attribute, Value]) -> int:
        """C_CreateObject."""
        template, made = _template(attributes), c_ulong()
        self._call("C_CreateObject", self._session, template, c_ulong(len(template)), byref(made))
        return made.value

    def generate(self, mechanism: Mechanism, attributes: Mapping[Attribute, Value]) -> int:
        """C_GenerateKey."""
        template, made = _template(attributes), c_ulong()
        self._call(
            "C_GenerateKey",
            self._session,
            _mechanism(mechanism),
            template,
            c_ulong(len(template)),
            byref(made),
        )
        return made.value

    def generate_pair(
        self, mechanism: Mechanism, public: Mapping[Attribute, Value], private: Mapping[Attribute, Value]
    ) -> tuple[int, int]:
        """C_GenerateKeyPair."""
        first, second = _template(public), _template(private)
        made, also_made = c_ulong(), c_ulong()
        self._call(
            "C_GenerateKeyPair", self._session, _mechanism(mechanism),
            first, c_ulong(len(first)), second, c_ulong(len(second)), byref(made), byref(also_made),
        )  # fmt: skip
        return made.value, also_made.value

    def wrap(self, mechanism: Mechanism, wrapping: int, handle: int) -> bytes:
        """C_WrapKey."""
        space, length = (c_ubyte * 8192)(), c_ulong(8192)
        self._call(
            "C_WrapKey", self._session, _mechanism(mechanism), c_ulong(wrapping), c_ulong(handle), space, byref(length)
        )  # fmt: skip
        return bytes(space[: length.value])

    def derive(
        self, mechanism: Mechanism, parameter: bytes, base: int, attributes: Mapping[Attribute, Value]
    ) -> int:
        """C_DeriveKey."""
        template, made = _template(attributes), c_ulong()
        self._call(
            "C_DeriveKey", self._session, _mechanism(mechanism, parameter), c_ulong(base),
            template, c_ulong(len(template)), byref(made),
        )  # fmt: skip
        return made.value

    def _slot_of(self, label: str) -> c_ulong:
        count = c_ulong()
        self._call("C_GetSlotList", c_byte(1), None, byref(count))
        slots = (c_ulong * count.value)()
        self._call("C_GetSlotList", c_byte(1), slots, byref(count))
        for slot in slots:
            information = (c_ubyte * 512)()
            self._call("C_GetTokenInfo", c_ulong(slot), information)
            if bytes(information[:32]).decode().rstrip() == label:
                return c_ulong(slot)
        raise LookupError(label)

    def _call(self, name: str, *arguments: object) -> None:
        function = getattr(self._module, name)
        function.restype = c_ulong
        returned = function(*arguments)
        if returned != _OK:
            raise RefusedError(_name(returned))


def _template(attributes: Mapping[Attribute, Value]) -> ctypes.Array[_Attribute]:
    """Return a template; its values live as long as it does."""
    template = (_Attribute * len(attributes))()
    kept: list[object] = []
    for place, (attribute, value) in zip(template, attributes.items(), strict=True):
        encoded = _encoded(value)
        space = ctypes.create_string_buffer(encoded, len(encoded))
        kept.append(space)
        place.type, place.value, place.length = attribute, ctypes.cast(space, c_void_p), len(encoded)
    template.kept = kept  # type: ignore[attr-defined]
    return template


def _encoded(value: Value) -> bytes:
    if isinstance(value, bool):
        return bytes([value])
    if isinstance(value, int):
        return value.to_bytes(ctypes.sizeof(c_ulong), "little")
    return value


def _mechanism(mechanism: Mechanism, parameter: bytes = b"") -> "ctypes.Array[_Mechanism]":
    space = ctypes.create_string_buffer(parameter, max(1, len(parameter)))
    made = (_Mechanism * 1)(
        _Mechanism(mechanism, ctypes.cast(space, c_void_p) if parameter else None, len(parameter))
    )
    made.kept = space  # type: ignore[attr-defined]
    return made


def ecdh_parameter(point: bytes) -> tuple[bytes, object]:
    """Return CK_ECDH1_DERIVE_PARAMS for CKD_NULL, and what must be kept alive while it is used."""
    space = ctypes.create_string_buffer(point, len(point))

    class Parameters(ctypes.Structure):
        _fields_ = (
            ("kdf", c_ulong), ("shared_length", c_ulong), ("shared", c_void_p),
            ("public_length", c_ulong), ("public", POINTER(c_ubyte)),
        )  # fmt: skip

    made = Parameters(1, 0, None, len(point), ctypes.cast(space, POINTER(c_ubyte)))
    return bytes(made), space


def _name(returned: int) -> str:
    if returned == _KEY_UNEXTRACTABLE:
        return "CKR_KEY_UNEXTRACTABLE"
    try:
        return f"CKR_{Ckr(returned).name}"
    except ValueError:
        return f"CKR 0x{returned:08X}"
