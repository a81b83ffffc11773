"""One PKCS#11 module and the tokens behind it: slots, sessions, PINs. Synchronous; runs inside a host.

Tokens are found by serial, because slot numbers change after initialisation. Each token used has one session,
read-write where the token allows it; logging in and out happens on it, and its private keys' handles are
cached until then. A token whose sessions are gone is forgotten at once, and its caller told.
"""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import pkcs11
from pkcs11 import Mechanism, TokenFlag
from pkcs11.exceptions import (
    GeneralError,
    KeyHandleInvalid,
    ObjectHandleInvalid,
    PKCS11Error,
    SlotIDInvalid,
    TokenNotPresent,
    TokenNotRecognised,
)
from pkcs11.types import DecryptMixin, PrivateKey, Session, Slot, Token

from cardd_pkcs11 import objects, protocol, verification
from cardd_pkcs11.cryptoki import Functions, KeyOperation, UserKind, ckr_of, token_error
from cardd_pkcs11.errors import (
    Ckr,
    MechanismUnavailableError,
    ModuleMissingError,
    NotLoggedInError,
    ObjectNotFoundError,
    PinFinalTryError,
    PinIncorrectError,
    PinLengthError,
    PinLockedError,
    TokenElsewhereError,
    TokenNotFoundError,
    TokenRemovedError,
)
from cardd_pkcs11.turns import StoreTurns
from cardd_pkcs11.types import (
    KeyAlgorithm,
    KeyAttributes,
    KeyCapabilities,
    KeyId,
    ModuleInfo,
    ObjectInfo,
    PinFlags,
    Secret,
    SignMechanism,
    Spki,
    TokenInfo,
    TokenSerial,
)

T = TypeVar("T")

#: CK_TOKEN_INFO.serialNumber (PKCS#11 v2.40 §3.2).
_SERIAL_CHARACTERS = 16
#: How often a token is read that cannot be read for now, and the seconds between.
_READINGS = 6
_BETWEEN_READINGS = 0.005


@dataclass
class _OpenToken:
    slot: Slot
    session: Session
    logged_in: bool = False
    keys: dict[KeyId, PrivateKey] = field(default_factory=dict)

    @property
    def handle(self) -> int:
        """CK_SESSION_HANDLE of the session."""
        return _handle(self.session)


class Module:
    """A loaded and initialised module; every method raises `TokenError` or one of its kinds."""

    def __init__(self, start: protocol.Start) -> None:
        self._rules = start.pin_rules
        self._unavailable = frozenset(start.unavailable)
        self._probe_mechanisms = start.probe_mechanisms
        self._login_before_pin_change = start.login_before_pin_change
        self._public_use_follows = start.public_use_follows
        self._signing_needs_decrypt = frozenset(start.signing_needs_decrypt)
        self._bound_to_device = start.bound_to_device
        self._serial_seed = start.serial_seed
        self._open_tokens: dict[TokenSerial, _OpenToken] = {}
        self._turns = StoreTurns(None if start.store is None else Path(start.store))
        try:
            with self._turns.reading():
                self._library = pkcs11.lib(start.module_path)
            self._functions = Functions(start.module_path)
        except (PKCS11Error, OSError, AttributeError) as error:
            ckr = ckr_of(error) if isinstance(error, PKCS11Error) else None
            raise ModuleMissingError(f"cannot load the module {start.module_path}", ckr=ckr) from None
        self._path = start.module_path

    def info(self) -> ModuleInfo:
        """Describe the module (CK_INFO)."""
        return ModuleInfo(
            path=self._path,
            manufacturer=self._library.manufacturer_id,
            description=self._library.library_description,
            library_version=".".join(map(str, self._library.library_version)),
            cryptoki_version=".".join(map(str, self._library.cryptoki_version)),
        )

    def finalize(self) -> None:
        """C_Finalize; the module is of no use afterwards."""
        with _translated("finalise the module"):
            self._library.finalize()

    def refresh(self, _call: protocol.Refresh) -> None:
        """C_Finalize and C_Initialize: the slot list is made anew and every login is lost."""
        self._open_tokens.clear()
        with _translated("initialise the module again"), self._turns.reading():
            self._library.reinitialize()

    def list_tokens(self, _call: protocol.ListTokens) -> tuple[TokenInfo, ...]:
        """Read every initialised token."""
        with _translated("list the tokens"), self._turns.reading():
            return tuple(self._token_info(token) for _, token in self._tokens())

    def init_token(self, call: protocol.InitToken) -> TokenInfo:
        """Initialise the first blank token and set its user PIN.

        Between C_InitToken and C_InitPIN the token exists without a user PIN: `init_pin` finishes it.
        """
        self._check_pin(call.so_pin)
        self._check_pin(call.user_pin)
        with _translated("initialise a token"), self._turns.writing():
            slot = self._blank_slot()
            with self._device(f"makes no token {call.label} beside those of its store"):
                self._functions.init_token(slot.slot_id, call.so_pin, call.label)
            self._set_user_pin(slot.get_token(), call.so_pin, call.user_pin)
            return self._token_info(slot.get_token())

    def init_pin(self, call: protocol.InitPin) -> None:
        """Set the user PIN as security officer."""
        self._check_pin(call.user_pin)
        self._forget(call.serial)
        with _translated("set the user PIN"), self._turns.writing():
            self._set_user_pin(self._slot_of(call.serial).get_token(), call.so_pin, call.user_pin)

    def login(self, call: protocol.Login) -> None:
        """Try a PIN; a login already held is given up first, unless the caller would reuse it.

        Raises:
            PinLengthError, PinFinalTryError, PinLockedError: no try was made.
            PinIncorrectError: with the PIN's state after the try.
            TokenElsewhereError: another device made the token.
        """
        self._check_pin(call.pin)
        with self._token(call.serial) as token:
            if token.logged_in:
                if call.reuse:
                    return
                self._leave(token)
            with (
                self._turns.writing(),
                self._pin_try(token, accept_final_try=call.accept_final_try),
                self._device(f"does not open the token {call.serial}"),
            ):
                self._functions.login(token.handle, UserKind.USER, call.pin)
            token.logged_in = True

    def logout(self, call: protocol.Logout) -> None:
        """Give up the login, if there is one."""
        if call.serial in self._open_tokens:
            with self._token(call.serial) as token:
                if token.logged_in:
                    self._leave(token)

    def forget(self, call: protocol.Forget) -> None:
        """Drop everything held of a token, present or not."""
        self._forget(call.serial)

    def change_pin(self, call: protocol.ChangePin) -> None:
        """Change the user PIN; wrong old PINs count as tries."""
        self._check_pin(call.old)
        self._check_pin(call.new)
        if self._login_before_pin_change:
            login = protocol.Login(serial=call.serial, pin=call.old, accept_final_try=call.accept_final_try)
            self.login(login)
        with (
            self._token(call.serial) as token,
            self._turns.writing(),
            self._pin_try(token, accept_final_try=call.accept_final_try),
        ):
            self._set_pin(token, call.old, call.new, "change the PIN")

    def unblock(self, call: protocol.Unblock) -> None:
        """Set a new PIN with the PUK, without a login.

        Raises:
            PinLengthError: no try was made.
            PinIncorrectError, PinLockedError: they speak of the PUK.
        """
        self._check_pin(call.puk)
        self._check_pin(call.new)
        with self._token(call.serial) as token, self._turns.writing():
            self._set_pin(token, call.puk, call.new, "unblock the PIN")

    def list_objects(self, call: protocol.ListObjects) -> tuple[ObjectInfo, ...]:
        """List what is visible on a token."""
        with self._token(call.serial) as token:
            return objects.describe(token.session)

    def generate_key_pair(self, call: protocol.GenerateKeyPair) -> Spki:
        """Make a key pair on a token.

        Raises:
            MechanismUnavailableError: the token makes no keys of that algorithm and size.
        """
        with self._token(call.serial) as token:
            _require_login(token)
            _check_size(token.slot, call.algorithm)
            return objects.generate_key_pair(
                token.session,
                key_id=call.key_id,
                label=call.label,
                algorithm=call.algorithm,
                template=call.template,
                public_use_follows=self._public_use_follows,
            )

    def key_attributes(self, call: protocol.ReadKeyAttributes) -> KeyAttributes:
        """Read a private key's attributes back from the token, never from what was asked for."""
        with self._token(call.serial) as token:
            return self._with_key(token, call.key_id, objects.key_attributes)

    def public_key(self, call: protocol.ReadPublicKey) -> Spki:
        """Read a public key."""
        with self._token(call.serial) as token:
            return objects.public_key(token.session, call.key_id)

    def sign(self, call: protocol.Sign) -> bytes:
        """Sign, and verify the signature before handing it out."""
        self._check_available(call.mechanism)
        with self._token(call.serial) as token:
            signature = self._with_key(
                token,
                call.key_id,
                lambda key: objects.sign(key, self._signing(key, call.mechanism), call.data),
            )
        verification.verify(call.spki, call.mechanism, call.data, signature)
        return signature

    def decrypt(self, call: protocol.Decrypt) -> bytes:
        """Decrypt."""
        self._check_available(call.mechanism)
        with self._token(call.serial) as token:
            return self._with_key(
                token, call.key_id, lambda key: objects.decrypt(key, call.mechanism, call.ciphertext)
            )

    def store_certificate(self, call: protocol.StoreCertificate) -> None:
        """Put a certificate beside its key."""
        with self._token(call.serial) as token:
            _require_login(token)
            objects.store_certificate(token.session, key_id=call.key_id, label=call.label, der=call.der)

    def store_data(self, call: protocol.StoreData) -> None:
        """Put a data object."""
        with self._token(call.serial) as token:
            _require_login(token)
            objects.store_data(
                token.session,
                application=call.application,
                label=call.label,
                value=call.value,
                private=call.private,
            )

    def read_data(self, call: protocol.ReadData) -> bytes:
        """Read a data object."""
        with self._token(call.serial) as token:
            try:
                return objects.read_data(token.session, application=call.application, label=call.label)
            except ObjectNotFoundError:
                _require_login(token)
                raise

    def destroy(self, call: protocol.Destroy) -> int:
        """Destroy objects; cached handles are dropped."""
        with self._token(call.serial) as token:
            _require_login(token)
            token.keys.clear()
            return objects.destroy(token.session, kinds=call.kinds, key_id=call.key_id, label=call.label)

    def capabilities(self, call: protocol.Capabilities) -> KeyCapabilities:
        """Ask what a key can do."""
        with self._token(call.serial) as token:
            offered = token.slot.get_mechanisms()
            found = self._with_key(
                token,
                call.key_id,
                lambda key: objects.capabilities(key, offered, self._acceptance(token, key)),
            )
        beyond = self._unavailable if found.decrypt else self._unavailable | self._signing_needs_decrypt
        return KeyCapabilities(
            sign=tuple(mechanism for mechanism in found.sign if mechanism not in beyond),
            decrypt=tuple(mechanism for mechanism in found.decrypt if mechanism not in self._unavailable),
        )

    def _signing(self, key: PrivateKey, mechanism: SignMechanism) -> SignMechanism:
        """Return the mechanism if the key signs with it; some modules keep a key in use after they failed."""
        if mechanism in self._signing_needs_decrypt and not isinstance(key, DecryptMixin):
            raise MechanismUnavailableError(f"through this module a key that only signs has no {mechanism}")
        return mechanism

    def _acceptance(self, token: _OpenToken, key: PrivateKey) -> Callable[[KeyOperation, int], bool]:
        """Return what tells whether a key takes a mechanism: the module itself, where its list does not."""
        if not self._probe_mechanisms:
            return lambda _operation, _mechanism: True
        handle = int(getattr(key, "handle"))  # noqa: B009 - python-pkcs11 has it but does not declare it
        return lambda operation, mechanism: self._functions.accepts(
            token.slot.slot_id, handle, operation, mechanism
        )

    def _set_pin(self, token: _OpenToken, old: Secret, new: Secret, doing: str) -> None:
        try:
            token.session.set_pin(old.reveal(), new.reveal())
        except PKCS11Error as error:
            raise token_error(ckr_of(error), doing) from None

    def _tokens(self) -> Iterator[tuple[Slot, Token]]:
        for slot in self._library.get_slots(token_present=True):
            try:
                token = _token_in(slot)
            except (TokenNotPresent, TokenNotRecognised, SlotIDInvalid):
                continue
            if TokenFlag.TOKEN_INITIALIZED in token.flags:
                yield slot, token

    def _blank_slot(self) -> Slot:
        for slot in self._library.get_slots(token_present=True):
            if TokenFlag.TOKEN_INITIALIZED not in _token_in(slot).flags:
                return slot
        raise TokenNotFoundError("the module offers no blank token to initialise")

    def _slot_of(self, serial: TokenSerial) -> Slot:
        for slot, token in self._tokens():
            if self._serial(token) == serial:
                return slot
        raise TokenNotFoundError(f"no token {serial} is present")

    @contextmanager
    def _token(self, serial: TokenSerial) -> Iterator[_OpenToken]:
        try:
            yield self._opened(serial)
        except PKCS11Error as error:
            failure = token_error(ckr_of(error), f"use the token {serial}")
            if isinstance(failure, TokenRemovedError):
                self._forget(serial)
            elif isinstance(failure, NotLoggedInError) and serial in self._open_tokens:
                self._open_tokens[serial].logged_in = False
            raise failure from None
        except TokenRemovedError:
            self._forget(serial)
            raise

    def _opened(self, serial: TokenSerial) -> _OpenToken:
        if serial not in self._open_tokens:
            with self._turns.reading():
                slot = self._slot_of(serial)
                token = _token_in(slot)
                read_write = TokenFlag.WRITE_PROTECTED not in token.flags
                self._open_tokens[serial] = _OpenToken(slot, token.open(rw=read_write))
        return self._open_tokens[serial]

    def _forget(self, serial: TokenSerial) -> None:
        token = self._open_tokens.pop(serial, None)
        if token is None:
            return
        try:
            token.session.close()
        except PKCS11Error:
            return  # the session went with its token

    def _leave(self, token: _OpenToken) -> None:
        token.keys.clear()
        token.logged_in = False
        self._functions.logout(token.handle)

    def _set_user_pin(self, token: Token, so_pin: Secret, user_pin: Secret) -> None:
        session = token.open(rw=True)
        try:
            self._functions.login(_handle(session), UserKind.SECURITY_OFFICER, so_pin)
            try:
                session.init_pin(user_pin.reveal())
            finally:
                self._functions.logout(_handle(session))
        finally:
            session.close()

    @contextmanager
    def _pin_try(self, token: _OpenToken, *, accept_final_try: bool) -> Iterator[None]:
        before = _pin_flags(_token_in(token.slot))
        if before.locked:
            raise PinLockedError("the PIN is locked", pin=before)
        if before.final_try and not accept_final_try:
            raise PinFinalTryError("one try is left, and the caller did not accept to use it", pin=before)
        try:
            yield
        except (PinIncorrectError, PinLockedError) as error:
            error.pin = _pin_flags(_token_in(token.slot))
            raise

    def _check_pin(self, pin: Secret) -> None:
        value = pin.reveal()
        if not self._rules.minimum <= len(value.encode()) <= self._rules.maximum:
            raise PinLengthError(f"a PIN has {self._rules.minimum} to {self._rules.maximum} characters")
        if self._rules.digits_only and not (value.isascii() and value.isdigit()):
            raise PinLengthError("a PIN has digits only")

    @contextmanager
    def _device(self, refuses: str) -> Iterator[None]:
        """Tell a token of another device from one that went away, where the module does not."""
        try:
            yield
        except TokenRemovedError as error:
            if self._bound_to_device and error.ckr is Ckr.GENERAL_ERROR:
                why = f"this device {refuses}: another one made it, or it was cleared"
                raise TokenElsewhereError(why, ckr=error.ckr) from None
            raise

    def _check_available(self, mechanism: str) -> None:
        if mechanism in self._unavailable:
            raise MechanismUnavailableError(f"this module does not offer {mechanism}")

    def _with_key(self, token: _OpenToken, key_id: KeyId, use: Callable[[PrivateKey], T]) -> T:
        """Use a private key; a cached handle that another process has made stale is looked up again, once."""
        cached = token.keys.get(key_id)
        if cached is not None:
            try:
                return use(cached)
            except (KeyHandleInvalid, ObjectHandleInvalid):
                del token.keys[key_id]
        try:
            found = objects.find_private_key(token.session, key_id)
        except ObjectNotFoundError:
            _require_login(token)
            raise
        token.keys[key_id] = found
        return use(found)

    def _serial(self, token: Token) -> TokenSerial:
        """Return CK_TOKEN_INFO.serialNumber; where all tokens share one, a value as long from seed and label."""
        if self._serial_seed is None:
            return TokenSerial(token.serial.decode("utf-8", errors="replace").rstrip("\0 "))
        named = hashlib.sha256(f"{self._serial_seed}\0{token.label}".encode())
        return TokenSerial(named.hexdigest()[:_SERIAL_CHARACTERS])

    def _token_info(self, token: Token) -> TokenInfo:
        serial, flags = self._serial(token), token.flags
        held = self._open_tokens.get(serial)
        return TokenInfo(
            serial=serial,
            label=token.label,
            manufacturer=token.manufacturer_id,
            model=token.model,
            initialised=TokenFlag.TOKEN_INITIALIZED in flags,
            write_protected=TokenFlag.WRITE_PROTECTED in flags,
            login_required=TokenFlag.LOGIN_REQUIRED in flags,
            protected_authentication_path=TokenFlag.PROTECTED_AUTHENTICATION_PATH in flags,
            user_pin=_pin_flags(token),
            logged_in=held is not None and held.logged_in,
        )


def _check_size(slot: Slot, algorithm: KeyAlgorithm) -> None:
    """Ask the token which sizes it makes (C_GetMechanismInfo): its refusal would not say."""
    wanted = Mechanism.RSA_PKCS_KEY_PAIR_GEN if algorithm.is_rsa else Mechanism.EC_KEY_PAIR_GEN
    able = slot.get_mechanism_info(wanted)
    least, most = able.min_key_length or 0, able.max_key_length or algorithm.bits
    if not least <= algorithm.bits <= most:
        raise MechanismUnavailableError(
            f"this token makes no {algorithm}: its {wanted.name} has {least} to {most} bits",
            ckr=Ckr.KEY_SIZE_RANGE,
        )


def _handle(session: Session) -> int:
    return int(getattr(session, "handle"))  # noqa: B009 - python-pkcs11 has it but does not declare it


def _pin_flags(token: Token) -> PinFlags:
    flags = token.flags
    return PinFlags(
        initialised=TokenFlag.USER_PIN_INITIALIZED in flags,
        count_low=TokenFlag.USER_PIN_COUNT_LOW in flags,
        final_try=TokenFlag.USER_PIN_FINAL_TRY in flags,
        locked=TokenFlag.USER_PIN_LOCKED in flags,
    )


def _require_login(token: _OpenToken) -> None:
    if not token.logged_in:
        raise NotLoggedInError("the token is not logged in")


def _token_in(slot: Slot) -> Token:
    """Read the token of a slot; one that a process which takes no turns is just writing to is read again."""
    for _ in range(_READINGS - 1):
        try:
            return slot.get_token()
        except GeneralError:
            time.sleep(_BETWEEN_READINGS)
    return slot.get_token()


@contextmanager
def _translated(doing: str) -> Iterator[None]:
    try:
        yield
    except PKCS11Error as error:
        raise token_error(ckr_of(error), doing) from None
