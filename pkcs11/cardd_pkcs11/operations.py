"""The operations on tokens as asyncio methods, the same for one host, for a pool of them, and for several pools."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

import msgspec

from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import TokenErrorCode
from cardd_pkcs11.profiles import ModuleProfile
from cardd_pkcs11.types import (
    DecryptMechanism,
    KeyAlgorithm,
    KeyAttributes,
    KeyCapabilities,
    KeyId,
    KeyTemplate,
    ObjectInfo,
    ObjectKind,
    Secret,
    SignMechanism,
    Spki,
    TokenInfo,
    TokenSerial,
)

T = TypeVar("T")
PinSource = Callable[[], Secret]
Observer = Callable[[protocol.Call[Any], float, TokenErrorCode | None], None]


class TokenOperations(ABC):
    """Every operation raises `TokenError` or one of its kinds; `deadline` is in seconds, None for the default."""

    @abstractmethod
    async def call(self, call: protocol.Call[T], *, deadline: float | None = None) -> T:
        """Carry out one call."""

    async def ping(self, *, deadline: float | None = None) -> None:
        """Return when a host answers."""
        await self.call(protocol.Ping(), deadline=deadline)

    async def list_tokens(self, *, deadline: float | None = None) -> tuple[TokenInfo, ...]:
        """Read every initialised token, PIN flags included."""
        return await self.call(protocol.ListTokens(), deadline=deadline)

    async def init_token(
        self, label: str, so_pin: Secret, user_pin: Secret, *, deadline: float | None = None
    ) -> TokenInfo:
        """Initialise a blank token and set its user PIN; `label` has at most 32 bytes of UTF-8."""
        call = protocol.InitToken(label=label, so_pin=so_pin, user_pin=user_pin)
        return await self.call(call, deadline=deadline)

    async def init_pin(
        self, serial: TokenSerial, so_pin: Secret, user_pin: Secret, *, deadline: float | None = None
    ) -> None:
        """Set the user PIN as security officer: finishes a token left without one, or unblocks it."""
        await self.call(protocol.InitPin(serial=serial, so_pin=so_pin, user_pin=user_pin), deadline=deadline)

    async def login(
        self,
        serial: TokenSerial,
        pin: Secret,
        *,
        accept_final_try: bool = False,
        deadline: float | None = None,
    ) -> None:
        """Try a PIN and stay logged in.

        Raises:
            PinIncorrectError: `pin` of the error says what is left.
            PinLengthError, PinFinalTryError, PinLockedError: no try was made.
        """
        call = protocol.Login(serial=serial, pin=pin, accept_final_try=accept_final_try)
        await self.call(call, deadline=deadline)

    async def logout(self, serial: TokenSerial, *, deadline: float | None = None) -> None:
        """Give the login up; nothing where there is none."""
        await self.call(protocol.Logout(serial=serial), deadline=deadline)

    async def forget(self, serial: TokenSerial, *, deadline: float | None = None) -> None:
        """Drop sessions and caches of a token, as on a card's removal."""
        await self.call(protocol.Forget(serial=serial), deadline=deadline)

    async def change_pin(
        self,
        serial: TokenSerial,
        old: Secret,
        new: Secret,
        *,
        accept_final_try: bool = False,
        deadline: float | None = None,
    ) -> None:
        """Change the user PIN; errors as for `login`."""
        call = protocol.ChangePin(serial=serial, old=old, new=new, accept_final_try=accept_final_try)
        await self.call(call, deadline=deadline)

    async def unblock(
        self, serial: TokenSerial, puk: Secret, new: Secret, *, deadline: float | None = None
    ) -> None:
        """Give a blocked PIN a new value with the PUK, on a host made for that.

        Raises:
            PinIncorrectError, PinLockedError: they speak of the PUK here.
            PinLengthError: no try was made.
        """
        await self.call(protocol.Unblock(serial=serial, puk=puk, new=new), deadline=deadline)

    async def list_objects(
        self, serial: TokenSerial, *, deadline: float | None = None
    ) -> tuple[ObjectInfo, ...]:
        """List what is visible; private objects only while logged in."""
        return await self.call(protocol.ListObjects(serial=serial), deadline=deadline)

    async def generate_key_pair(
        self,
        serial: TokenSerial,
        key_id: KeyId,
        label: str,
        algorithm: KeyAlgorithm,
        template: KeyTemplate,
        *,
        deadline: float | None = None,
    ) -> Spki:
        """Make a key pair on the token and return its DER SubjectPublicKeyInfo."""
        call = protocol.GenerateKeyPair(
            serial=serial, key_id=key_id, label=label, algorithm=algorithm, template=template
        )
        return await self.call(call, deadline=deadline)

    async def key_attributes(
        self, serial: TokenSerial, key_id: KeyId, *, deadline: float | None = None
    ) -> KeyAttributes:
        """Read a private key's attributes back from the token."""
        return await self.call(protocol.ReadKeyAttributes(serial=serial, key_id=key_id), deadline=deadline)

    async def public_key(self, serial: TokenSerial, key_id: KeyId, *, deadline: float | None = None) -> Spki:
        """Read a public key as DER SubjectPublicKeyInfo."""
        return await self.call(protocol.ReadPublicKey(serial=serial, key_id=key_id), deadline=deadline)

    async def sign(
        self,
        serial: TokenSerial,
        key_id: KeyId,
        mechanism: SignMechanism,
        data: bytes,
        *,
        spki: Spki,
        deadline: float | None = None,
    ) -> bytes:
        """Sign; the signature has been verified with `spki`. ECDSA signatures are DER (RFC 3279 §2.2.3).

        Raises:
            SignatureMismatchError: it did not verify, and is withheld.
            MechanismUnavailableError: this key cannot do that through this module.
        """
        call = protocol.Sign(serial=serial, key_id=key_id, mechanism=mechanism, data=data, spki=spki)
        return await self.call(call, deadline=deadline)

    async def decrypt(
        self,
        serial: TokenSerial,
        key_id: KeyId,
        mechanism: DecryptMechanism,
        ciphertext: bytes,
        *,
        deadline: float | None = None,
    ) -> bytes:
        """Decrypt."""
        call = protocol.Decrypt(serial=serial, key_id=key_id, mechanism=mechanism, ciphertext=ciphertext)
        return await self.call(call, deadline=deadline)

    async def store_certificate(
        self, serial: TokenSerial, key_id: KeyId, label: str, der: bytes, *, deadline: float | None = None
    ) -> None:
        """Put a certificate beside its key; storing the same again changes nothing."""
        call = protocol.StoreCertificate(serial=serial, key_id=key_id, label=label, der=der)
        await self.call(call, deadline=deadline)

    async def store_data(
        self,
        serial: TokenSerial,
        application: str,
        label: str,
        value: bytes,
        *,
        private: bool,
        deadline: float | None = None,
    ) -> None:
        """Put a data object; storing the same again changes nothing."""
        call = protocol.StoreData(
            serial=serial, application=application, label=label, value=value, private=private
        )
        await self.call(call, deadline=deadline)

    async def read_data(
        self, serial: TokenSerial, application: str, label: str, *, deadline: float | None = None
    ) -> bytes:
        """Read a data object's value."""
        call = protocol.ReadData(serial=serial, application=application, label=label)
        return await self.call(call, deadline=deadline)

    async def destroy(
        self,
        serial: TokenSerial,
        *,
        kinds: frozenset[ObjectKind],
        key_id: KeyId | None = None,
        label: str | None = None,
        deadline: float | None = None,
    ) -> int:
        """Destroy objects by CKA_ID, by label or by both; return how many there were."""
        call = protocol.Destroy(serial=serial, kinds=kinds, key_id=key_id, label=label)
        return await self.call(call, deadline=deadline)

    async def capabilities(
        self, serial: TokenSerial, key_id: KeyId, *, deadline: float | None = None
    ) -> KeyCapabilities:
        """Ask what a private key can do through this module."""
        return await self.call(protocol.Capabilities(serial=serial, key_id=key_id), deadline=deadline)


class PoolCounters(msgspec.Struct, frozen=True):
    """What a pool has done since it was made."""

    hosts: int
    running: int
    calls: int
    restarts: int
    #: Calls that wait or run now.
    busy: int


class TokenPool(TokenOperations):
    """Operations on tokens that the daemon keeps open, whatever modules and hosts are behind."""

    @property
    @abstractmethod
    def counters(self) -> PoolCounters:
        """The sum over all hosts."""

    @property
    @abstractmethod
    def counters_by_module(self) -> Mapping[str, PoolCounters]:
        """The sums over the hosts of each module, by its profile's name."""

    @abstractmethod
    def observe(self, observer: Observer) -> None:
        """Tell `observer` of every call that ends: the call, its seconds, and how it failed, None where it did not."""

    @abstractmethod
    def unchanging(self) -> AbstractAsyncContextManager[None]:
        """Let nothing be written on any token while the context is open: what would write waits."""

    @abstractmethod
    async def start(self) -> None:
        """Start every host now rather than when first needed.

        Raises:
            ModuleMissingError: a module is not there.
        """

    @abstractmethod
    async def close(self) -> None:
        """Let calls in progress end, then let every host leave."""

    @abstractmethod
    def profile_of(self, serial: TokenSerial) -> ModuleProfile:
        """Return the profile of the module that holds a token which was seen.

        Raises:
            TokenNotFoundError: no module of this pool has shown such a token.
        """

    @abstractmethod
    def keep_open(self, serial: TokenSerial, pin_source: PinSource) -> None:
        """Let every host log in on a token by itself; `pin_source` is asked for each login, in a thread.

        A PIN that is refused is not tried again before `keep_open` is called anew.
        """

    @abstractmethod
    def close_off(self, serial: TokenSerial) -> None:
        """Refuse every call about a token from now on, with `TokenQuarantinedError`."""

    @abstractmethod
    def open_up(self, serial: TokenSerial) -> None:
        """Carry out calls about a token again."""

    @abstractmethod
    def uses(self, serial: TokenSerial) -> int:
        """Return how often keys of a token were used since the pool was made."""

    @abstractmethod
    async def let_go(self, serial: TokenSerial) -> None:
        """Stop keeping a token open, and log out on every host that runs."""

    @abstractmethod
    async def list_tokens(
        self, *, refresh: bool = False, deadline: float | None = None
    ) -> tuple[TokenInfo, ...]:
        """Read every token that any running host sees.

        With `refresh`, hosts without an interactive login initialise their module first, so that tokens made or
        removed by other processes are seen as they are.
        """
