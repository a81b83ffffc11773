"""What the technical phase is made from: the parts of other rooms that orders and certificates use."""

from dataclasses import dataclass
from typing import Protocol

from cardd.clock import Clock
from cardd.custody.keys import KeyMaker
from cardd.custody.pins import PinVault
from cardd.custody.registry import KeyIntents
from cardd.custody.stock import KeyStock
from cardd.custody.tokens import TokenKeeper
from cardd.custody.uri import ObjectType, Pkcs11Uri
from cardd.igc.pki import Pki
from cardd.orders.codes import CODE_POLICY, CodePolicy
from cardd.settings import Settings
from cardd.store import Store
from cardd_pkcs11.errors import ModuleMissingError
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.profiles import load_profile
from cardd_pkcs11.types import KeyId, TokenSerial


class AuthorisingCard(Protocol):
    """What orders need of a card session: the card that authorises."""

    @property
    def card_serial(self) -> str:
        """Serial of the card whose PIN and key opened the session."""
        ...


@dataclass(frozen=True, kw_only=True)
class OrderParts:
    """The parts of other rooms."""

    store: Store
    clock: Clock
    settings: Settings
    pki: Pki
    pool: TokenOperations
    keeper: TokenKeeper
    maker: KeyMaker
    intents: KeyIntents
    stock: KeyStock
    vault: PinVault
    code_policy: CodePolicy = CODE_POLICY


@dataclass(frozen=True, kw_only=True)
class KeyPlace:
    """Where a private key is; labels are None where the serial and the identifier must do."""

    token_label: str | None
    #: Profile of the module that holds the token.
    module: str | None
    token_serial: str
    key_id: str
    label: str | None
    daemon_holds_pin: bool


def key_uri(place: KeyPlace, vault: PinVault) -> str:
    """Return the `pkcs11:` URI of a private key (RFC 7512), with the file of its token's PIN where there is one."""
    serial = TokenSerial(place.token_serial)
    return str(
        Pkcs11Uri(
            token=place.token_label,
            serial=None if _serial_is_ours(place.module) else serial,
            label=place.label,
            key_id=KeyId(bytes.fromhex(place.key_id)),
            type=ObjectType.PRIVATE,
            pin_file=vault.pin_file(serial) if place.daemon_holds_pin else None,
        )
    )


def _serial_is_ours(module: str | None) -> bool:
    """Tell whether the serial was made by this daemon, because the module has none: other programs do not see it."""
    if module is None:
        return False
    try:
        return load_profile(module).quirks.shares_serial
    except ModuleMissingError:
        return False
