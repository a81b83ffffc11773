"""Keys made on a token, with the evidence that they are held as the policy demands; anything weaker is destroyed."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from cardd.custody.errors import CustodyRefusedError, token_errors_translated
from cardd.custody.keychecks import check_public_key
from cardd.custody.policy import CustodyPolicy, KeyUse, Weakness, check_attributes, policy_for
from cardd.custody.registry import KEY_ID_BYTES
from cardd.text import Text
from cardd_pkcs11.errors import DeadlineExceededError, HostLostError, ObjectNotFoundError, TokenError
from cardd_pkcs11.operations import TokenOperations
from cardd_pkcs11.types import (
    CustodyLevel,
    KeyAlgorithm,
    KeyAttributes,
    KeyId,
    ObjectKind,
    Spki,
    TokenSerial,
)

_log = structlog.get_logger(__name__)

_KEY_PAIR = frozenset({ObjectKind.PRIVATE_KEY, ObjectKind.PUBLIC_KEY})


class MadeKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that passed every check, with its evidence."""

    key_id: KeyId
    token_serial: TokenSerial
    spki: Spki
    algorithm: KeyAlgorithm
    level: CustodyLevel
    attributes: KeyAttributes


class KeyMaker:
    """Makes keys on tokens; `level` is what they are worth, or tells it of each token.

    `binds` tells of a software token whether it opens on this machine only; `witness` is given each key that
    was made, before its caller is, and a key that it refuses is destroyed.
    """

    def __init__(
        self,
        tokens: TokenOperations,
        level: CustodyLevel | Callable[[TokenSerial], CustodyLevel],
        *,
        binds: Callable[[TokenSerial], bool] | None = None,
        witness: Callable[[MadeKey], Awaitable[None]] | None = None,
    ) -> None:
        self._tokens = tokens
        self._level = level
        self._binds = binds
        self._witness = witness

    def level_of(self, serial: TokenSerial) -> CustodyLevel:
        """Return what a token is worth now."""
        level = self._level if isinstance(self._level, CustodyLevel) else self._level(serial)
        if level is CustodyLevel.SOFTWARE and self._binds is not None and self._binds(serial):
            return CustodyLevel.MACHINE_BOUND
        return level

    async def make(
        self, serial: TokenSerial, key_id: KeyId, label: str, algorithm: KeyAlgorithm, use: KeyUse
    ) -> MadeKey:
        """Make a key pair under an identifier of 16 bytes that the caller chose, and read back what it is.

        Whatever goes wrong, cancellation included, the key is destroyed before the error leaves.

        Raises:
            CustodyRefusedError: the token made a weaker key; `data["attributes"]` names each attribute.
            WeakKeyError: the public key breaks a rule.
            TokenFaultError: the token or its host refused or failed.
        """
        if len(key_id) != KEY_ID_BYTES:
            raise ValueError(f"a key's identifier has {KEY_ID_BYTES} bytes")
        if use is not KeyUse.SIGN and not algorithm.is_rsa:
            raise CustodyRefusedError(
                Text(
                    "An elliptic curve key cannot decrypt.", "Une clé à courbe elliptique ne déchiffre pas."
                ),
                attributes=["decrypt"],
            )
        with token_errors_translated():
            making = asyncio.create_task(self._make(serial, key_id, label, algorithm, policy_for(use)))
            try:
                return await asyncio.shield(making)
            except asyncio.CancelledError:
                [made] = await asyncio.gather(making, return_exceptions=True)
                if isinstance(made, MadeKey):
                    await self._destroy(serial, key_id)
                raise

    async def check(
        self, serial: TokenSerial, key_id: KeyId, spki: Spki, algorithm: KeyAlgorithm, use: KeyUse
    ) -> MadeKey:
        """Read back a key made earlier, and return what it is now.

        Raises:
            CustodyRefusedError: it is gone, is another one, or is held more weakly than the policy demands.
            TokenFaultError: the token or its host refused or failed.
        """
        with token_errors_translated():
            try:
                attributes = await self._tokens.key_attributes(serial, key_id)
                found = await self._tokens.public_key(serial, key_id)
            except ObjectNotFoundError:
                raise _changed("token") from None
        if found != spki:
            raise _changed("value")
        _refuse(check_attributes(attributes, policy_for(use)))
        return MadeKey(
            key_id=key_id,
            token_serial=serial,
            spki=spki,
            algorithm=algorithm,
            level=self.level_of(serial),
            attributes=attributes,
        )

    async def destroy(self, serial: TokenSerial, key_id: KeyId) -> None:
        """Destroy a key pair; nothing where it does not exist.

        Raises:
            TokenFaultError: the token or its host refused or failed.
        """
        with token_errors_translated():
            await self._destroy(serial, key_id)

    async def _make(
        self, serial: TokenSerial, key_id: KeyId, label: str, algorithm: KeyAlgorithm, policy: CustodyPolicy
    ) -> MadeKey:
        try:
            spki = await self._tokens.generate_key_pair(serial, key_id, label, algorithm, policy.template)
        except (HostLostError, DeadlineExceededError):
            await self._clean_up(serial, key_id)
            raise
        try:
            attributes = await self._tokens.key_attributes(serial, key_id)
            _refuse(check_attributes(attributes, policy))
            await asyncio.to_thread(check_public_key, spki)
            made = MadeKey(
                key_id=key_id,
                token_serial=serial,
                spki=spki,
                algorithm=algorithm,
                level=self.level_of(serial),
                attributes=attributes,
            )
            if self._witness is not None:
                await self._witness(made)
        except BaseException:
            await self._clean_up(serial, key_id)
            raise
        return made

    async def _clean_up(self, serial: TokenSerial, key_id: KeyId) -> None:
        """Destroy on the way out of an error, which a second one must not hide."""
        try:
            await self._destroy(serial, key_id)
        except TokenError as error:
            _log.error("custody.key_left_behind", token=serial, key_id=key_id.hex(), why=str(error))

    async def _destroy(self, serial: TokenSerial, key_id: KeyId) -> None:
        await self._tokens.destroy(serial, kinds=_KEY_PAIR, key_id=key_id)


def _changed(attribute: str) -> CustodyRefusedError:
    return CustodyRefusedError(
        Text(
            f"The token does not hold the key any more as it was made (CKA_{attribute.upper()}).",
            f"Le jeton ne garde plus la clé telle qu’elle a été créée (CKA_{attribute.upper()}).",
        ),
        attributes=[attribute],
    )


def _refuse(weaknesses: list[Weakness]) -> None:
    if not weaknesses:
        return
    names = [weakness.attribute for weakness in weaknesses]
    listed = ", ".join(f"CKA_{name.upper()}" for name in names)
    raise CustodyRefusedError(
        Text(
            f"The token does not hold the key as demanded ({listed}); it was destroyed.",
            f"Le jeton ne garde pas la clé comme exigé ({listed}) ; elle a été détruite.",
        ),
        attributes=names,
    )
