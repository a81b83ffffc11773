"""What a client and a token host say to each other, as pure data: calls, answers, frames. No I/O.

A frame is a 4-byte big-endian length and that many bytes of msgpack. One call is answered by one
answer bearing its number. No call exists that wraps, copies, imports or exports a private key.
"""

from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar, get_args

import msgspec

from cardd_pkcs11.errors import Ckr, ProtocolError, TokenError, TokenErrorCode, error_class
from cardd_pkcs11.types import (
    DecryptMechanism,
    KeyAlgorithm,
    KeyAttributes,
    KeyCapabilities,
    KeyId,
    KeyTemplate,
    ModuleInfo,
    ObjectInfo,
    ObjectKind,
    PinFlags,
    Secret,
    SignMechanism,
    Spki,
    TokenInfo,
    TokenSerial,
)

#: No frame is larger, in bytes. Certificates and data objects are a few kilobytes.
MAXIMUM_FRAME = 4 * 1024 * 1024
HEADER = 4

T = TypeVar("T")

_NIL = msgspec.Raw(b"\xc0")


class PinRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is checked of a PIN before it reaches a token, so that a typing error costs no try."""

    minimum: int = 4
    maximum: int = 255
    digits_only: bool = False


class Call(msgspec.Struct, Generic[T], frozen=True, kw_only=True, tag_field="call"):
    """One request to a host, answered by a `T`."""

    #: Type of the answer.
    result: ClassVar[Any]

    @property
    def about(self) -> TokenSerial | None:
        """The token concerned, None where the call is about the module."""
        return getattr(self, "serial", None)


class Start(Call[ModuleInfo], frozen=True, kw_only=True, tag="start"):
    """The first call: load the module and C_Initialize it."""

    result: ClassVar[Any] = ModuleInfo
    module_path: str
    pin_rules: PinRules
    #: Mechanisms that the module lists but does not carry out.
    unavailable: tuple[str, ...] = ()
    #: Ask what a key can do with C_SignInit and C_DecryptInit rather than by the slot's list.
    probe_mechanisms: bool = False
    #: Log in before C_SetPIN.
    login_before_pin_change: bool = False
    #: What a public key is for follows from its private key, and is not asked for.
    public_use_follows: bool = False
    #: Mechanisms with which a key signs only where it may decrypt, too.
    signing_needs_decrypt: tuple[str, ...] = ()
    #: C_Login fails with CKR_GENERAL_ERROR on a token of another device.
    bound_to_device: bool = False
    #: Given where every token has the same serial: hashed with the label, it makes one.
    serial_seed: str | None = None
    #: Given where processes take turns at a store: its directory (see `cardd_pkcs11.turns`).
    store: str | None = None


class Ping(Call[None], frozen=True, kw_only=True, tag="ping"):
    """Answered by nothing, at once."""

    result: ClassVar[Any] = None


class Refresh(Call[None], frozen=True, kw_only=True, tag="refresh"):
    """C_Finalize and C_Initialize: tokens made by other processes appear, every login is lost."""

    result: ClassVar[Any] = None


class ListTokens(Call[tuple[TokenInfo, ...]], frozen=True, kw_only=True, tag="list_tokens"):
    """Read every slot that holds an initialised token."""

    result: ClassVar[Any] = tuple[TokenInfo, ...]


class InitToken(Call[TokenInfo], frozen=True, kw_only=True, tag="init_token"):
    """C_InitToken on the first blank token, then C_InitPIN."""

    result: ClassVar[Any] = TokenInfo
    label: str
    so_pin: Secret
    user_pin: Secret


class InitPin(Call[None], frozen=True, kw_only=True, tag="init_pin"):
    """C_InitPIN as security officer, to finish a token or to unblock its PIN."""

    result: ClassVar[Any] = None
    serial: TokenSerial
    so_pin: Secret
    user_pin: Secret


class Login(Call[None], frozen=True, kw_only=True, tag="login"):
    """C_Login as user; with `reuse`, nothing where the host holds a login already."""

    result: ClassVar[Any] = None
    serial: TokenSerial
    pin: Secret
    accept_final_try: bool = False
    reuse: bool = False


class Logout(Call[None], frozen=True, kw_only=True, tag="logout"):
    """C_Logout; nothing where no login is held."""

    result: ClassVar[Any] = None
    serial: TokenSerial


class Forget(Call[None], frozen=True, kw_only=True, tag="forget"):
    """Close the token's session and drop what is cached of it, as on a card's removal."""

    result: ClassVar[Any] = None
    serial: TokenSerial


class ChangePin(Call[None], frozen=True, kw_only=True, tag="change_pin"):
    """C_SetPIN by the user."""

    result: ClassVar[Any] = None
    serial: TokenSerial
    old: Secret
    new: Secret
    accept_final_try: bool = False


class Unblock(Call[None], frozen=True, kw_only=True, tag="unblock"):
    """C_SetPIN without a login, which takes the PUK for the old PIN where the module is configured so."""

    result: ClassVar[Any] = None
    serial: TokenSerial
    puk: Secret
    new: Secret


class ListObjects(Call[tuple[ObjectInfo, ...]], frozen=True, kw_only=True, tag="list_objects"):
    """List what is visible; private objects only after login."""

    result: ClassVar[Any] = tuple[ObjectInfo, ...]
    serial: TokenSerial


class GenerateKeyPair(Call[Spki], frozen=True, kw_only=True, tag="generate_key_pair"):
    """C_GenerateKeyPair on the token."""

    result: ClassVar[Any] = Spki
    serial: TokenSerial
    key_id: KeyId
    label: str
    algorithm: KeyAlgorithm
    template: KeyTemplate


class ReadKeyAttributes(Call[KeyAttributes], frozen=True, kw_only=True, tag="key_attributes"):
    """Read a private key's attributes back."""

    result: ClassVar[Any] = KeyAttributes
    serial: TokenSerial
    key_id: KeyId


class ReadPublicKey(Call[Spki], frozen=True, kw_only=True, tag="public_key"):
    """Read a public key."""

    result: ClassVar[Any] = Spki
    serial: TokenSerial
    key_id: KeyId


class Sign(Call[bytes], frozen=True, kw_only=True, tag="sign"):
    """C_Sign, verified with `spki` before the answer."""

    result: ClassVar[Any] = bytes
    serial: TokenSerial
    key_id: KeyId
    mechanism: SignMechanism
    data: bytes
    spki: Spki


class Decrypt(Call[bytes], frozen=True, kw_only=True, tag="decrypt"):
    """C_Decrypt."""

    result: ClassVar[Any] = bytes
    serial: TokenSerial
    key_id: KeyId
    mechanism: DecryptMechanism
    ciphertext: bytes


class StoreCertificate(Call[None], frozen=True, kw_only=True, tag="store_certificate"):
    """Put a certificate beside its key; an older one under the same CKA_ID gives way."""

    result: ClassVar[Any] = None
    serial: TokenSerial
    key_id: KeyId
    label: str
    der: bytes


class StoreData(Call[None], frozen=True, kw_only=True, tag="store_data"):
    """Put a data object; an older one of the same application and label gives way."""

    result: ClassVar[Any] = None
    serial: TokenSerial
    application: str
    label: str
    value: bytes
    private: bool


class ReadData(Call[bytes], frozen=True, kw_only=True, tag="read_data"):
    """Read a data object's value."""

    result: ClassVar[Any] = bytes
    serial: TokenSerial
    application: str
    label: str


class Destroy(Call[int], frozen=True, kw_only=True, tag="destroy"):
    """Destroy the objects of these kinds that bear this CKA_ID, or this label; answers how many."""

    result: ClassVar[Any] = int
    serial: TokenSerial
    kinds: frozenset[ObjectKind]
    key_id: KeyId | None = None
    label: str | None = None


class Capabilities(Call[KeyCapabilities], frozen=True, kw_only=True, tag="capabilities"):
    """Ask what one private key can do."""

    result: ClassVar[Any] = KeyCapabilities
    serial: TokenSerial
    key_id: KeyId


AnyCall = (
    Start | Ping | Refresh | ListTokens | InitToken | InitPin | Login | Logout | Forget | ChangePin | Unblock
    | ListObjects | GenerateKeyPair | ReadKeyAttributes | ReadPublicKey | Sign | Decrypt | StoreCertificate | StoreData
    | ReadData | Destroy | Capabilities
)  # fmt: skip


class Request(msgspec.Struct, frozen=True):
    """A numbered call."""

    number: int
    call: AnyCall


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A `TokenError` on the wire."""

    code: TokenErrorCode
    message: str
    ckr: Ckr | None = None
    pin: PinFlags | None = None

    @classmethod
    def of(cls, error: TokenError) -> "Failure":
        """Make the wire's form of `error`."""
        return cls(code=error.code, message=error.message, ckr=error.ckr, pin=error.pin)

    def error(self) -> TokenError:
        """Make the exception again."""
        return error_class(self.code)(self.message, ckr=self.ckr, pin=self.pin)


class Answer(msgspec.Struct, frozen=True):
    """The outcome of the call of that number: a failure, or a value in msgpack."""

    number: int
    value: msgspec.Raw = _NIL
    failure: Failure | None = None


def encode_request(request: Request) -> bytes:
    """Return the frame of a request."""
    return _framed(_ENCODER.encode(request))


def decode_request(payload: bytes) -> Request:
    """Parse a frame's payload.

    Raises:
        ProtocolError: it is not a request.
    """
    return _decoded(_REQUESTS, payload)


def encode_answer(answer: Answer) -> bytes:
    """Return the frame of an answer."""
    return _framed(_ENCODER.encode(answer))


def encode_value(value: object) -> msgspec.Raw:
    """Return the value of an answer in msgpack."""
    return msgspec.Raw(_ENCODER.encode(value))


def decode_answer(payload: bytes) -> Answer:
    """Parse a frame's payload.

    Raises:
        ProtocolError: it is not an answer.
    """
    return _decoded(_ANSWERS, payload)


def outcome(answer: Answer, call: Call[T]) -> T:
    """Return the value that answers `call`.

    Raises:
        TokenError: the host reports a failure.
        ProtocolError: the value is not of the type the call wants.
    """
    if answer.failure is not None:
        raise answer.failure.error()
    value: T = _decoded(_VALUES[type(call)], bytes(answer.value))
    return value


def frame_length(header: bytes) -> int:
    """Read the length of the payload that follows a header.

    Raises:
        ProtocolError: the length is beyond `MAXIMUM_FRAME`.
    """
    length = int.from_bytes(header, "big")
    if length > MAXIMUM_FRAME:
        raise ProtocolError(f"a frame of {length} bytes is larger than the limit of {MAXIMUM_FRAME}")
    return length


class FrameBuffer:
    """Cuts a stream of bytes into payloads."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take received bytes and yield each payload that they complete.

        Raises:
            ProtocolError: a frame is too large; the stream is of no use any more.
        """
        self._pending += data
        while len(self._pending) >= HEADER:
            end = HEADER + frame_length(bytes(self._pending[:HEADER]))
            if len(self._pending) < end:
                return
            payload = bytes(self._pending[HEADER:end])
            del self._pending[:end]
            yield payload


def _framed(payload: bytes) -> bytes:
    if len(payload) > MAXIMUM_FRAME:
        raise ProtocolError(f"a message of {len(payload)} bytes is larger than the limit of {MAXIMUM_FRAME}")
    return len(payload).to_bytes(HEADER, "big") + payload


def _reveal(value: object) -> str:
    if isinstance(value, Secret):
        return value.reveal()
    raise NotImplementedError(f"no encoding for {type(value).__name__}")


def _restore(kind: type, value: object) -> object:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise NotImplementedError(f"no decoding for {kind.__name__}")


def _decoded(decoder: msgspec.msgpack.Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except (msgspec.MsgspecError, NotImplementedError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"a message cannot be decoded: {type(error).__name__}") from None


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_reveal)
_REQUESTS = msgspec.msgpack.Decoder(Request, dec_hook=_restore)
_ANSWERS = msgspec.msgpack.Decoder(Answer)
_VALUES: dict[type[Any], msgspec.msgpack.Decoder[Any]] = {
    kind: msgspec.msgpack.Decoder(kind.result) for kind in get_args(AnyCall)
}
