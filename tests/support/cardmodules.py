"""A module for cards in readers in memory, which counts PINs as cards do, and readers' events to feed the room with."""

from collections.abc import Callable
from pathlib import Path
from typing import cast

from msgspec.structs import replace

from cardd.cards.modules import CardModule, CardModules, MissingModule
from cardd.readers import CardGeneration, CardInserted, CardRemoved, ReaderName
from cardd.readers.serial import CardSerial as ReadSerial
from cardd.text import Text
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import Ckr, PinFinalTryError, PinIncorrectError, PinLockedError, TokenError
from cardd_pkcs11.pool import TokenHostPool
from cardd_pkcs11.profiles import load_profile
from cardd_pkcs11.types import ObjectInfo, PinFlags, TokenInfo, TokenSerial
from tests.support.cards import MemoryToken, MemoryTokens

READER = ReaderName("Reader 1")
TRIES = 3


def token_serial(serial: str) -> TokenSerial:
    """Return a token's serial as OpenSC shows it."""
    return TokenSerial(f"000001{serial}6f")


class MemoryCards(MemoryTokens):
    """Cards in memory: their tokens are seen while they are in; calls made are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.left: dict[TokenSerial, int] = {}
        self.calls: list[str] = []
        self.fails: TokenError | None = None
        #: What happens when a module is asked again for its tokens, before it answers.
        self.when_asked_again: Callable[[], None] = lambda: None

    def put_in(self, serial: str, *objects: ObjectInfo) -> None:
        """Let the module see a card with these objects."""
        token = token_serial(serial)
        card = MemoryToken(token, "CPS", "12345678", "1234")
        card.objects = [(found, found.certificate or b"") for found in objects]
        self.tokens[token] = card
        self.left.setdefault(token, TRIES)

    async def list_tokens(
        self, *, refresh: bool = False, deadline: float | None = None
    ) -> tuple[TokenInfo, ...]:
        self.calls.append("list_tokens")
        if refresh:
            self.when_asked_again()
        if self.fails is not None:
            raise self.fails
        return await super().list_tokens(deadline=deadline)

    def _ListTokens(self, call: protocol.ListTokens) -> tuple[TokenInfo, ...]:  # noqa: N802
        return tuple(replace(each, user_pin=self._flags(each.serial)) for each in super()._ListTokens(call))

    def _Login(self, call: protocol.Login) -> None:  # noqa: N802
        flags = self._flags(call.serial)
        if flags.locked:
            raise PinLockedError("locked", pin=flags)
        if flags.final_try and not call.accept_final_try:
            raise PinFinalTryError("one try left", pin=flags)
        try:
            super()._Login(call)
        except PinIncorrectError:
            self.left[call.serial] -= 1
            flags = self._flags(call.serial)
            if flags.locked:
                raise PinLockedError("locked now", ckr=Ckr.PIN_LOCKED, pin=flags) from None
            raise PinIncorrectError("wrong", ckr=Ckr.PIN_INCORRECT, pin=flags) from None
        self.left[call.serial] = TRIES

    def _Forget(self, call: protocol.Forget) -> None:  # noqa: N802
        self.calls.append(f"forget {call.serial}")
        super()._Forget(call)

    def _flags(self, serial: TokenSerial) -> PinFlags:
        left = self.left[serial]
        return PinFlags(initialised=True, count_low=0 < left < TRIES, final_try=left == 1, locked=left == 0)


class MemoryModules(CardModules):
    """OpenSC's profile over cards in memory."""

    def __init__(self, directory: Path, cards: MemoryCards | None) -> None:
        super().__init__((), directory)
        reason = Text("cryptolib-cps is not here.", "cryptolib-cps est absent.")
        self.missing = (MissingModule("cryptolib-cps", reason),)
        if cards is not None:
            module = CardModule(load_profile("opensc"), Path("memory"), {}, {})
            module.pool = cast("TokenHostPool", cards)
            self.available = (module,)

    async def close(self) -> None:
        """Nothing to end."""


def came(serial: str | None, reader: ReaderName = READER) -> CardInserted:
    """Return the event of a CPS3 that came."""
    read = None if serial is None else ReadSerial(serial)
    return CardInserted(reader, b"\x3b\xac", CardGeneration.CPS3, read)


def left(serial: str | None, reader: ReaderName = READER) -> CardRemoved:
    """Return the event of a card that left."""
    return CardRemoved(reader, None if serial is None else ReadSerial(serial))
