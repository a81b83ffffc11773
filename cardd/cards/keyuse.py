"""What a card's keys are used for in an open session: signatures, answers to challenges, decryption.

Every signature is verified with the certificate's key before it is handed out.
"""

from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Final, Protocol

from cardd.cards.records import CardKey, CardRecord
from cardd.cards.signing import (
    Signable,
    check_capability,
    decrypt_mechanism,
    for_module,
    offered,
    prepare,
    unavailable,
)
from cardd.cards.types import (
    AuthenticationRequest,
    AuthenticationView,
    CardRole,
    DecryptionView,
    DecryptRequest,
    SignatureView,
    SignRequest,
)
from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.text import Text
from cardd_pkcs11.errors import MechanismUnavailableError
from cardd_pkcs11.types import SignMechanism

if TYPE_CHECKING:
    from cardd.cards.sessions import CardSession, LiveSession

#: What the bytes signed for a challenge begin with, so that nobody obtains a signature of something else.
AUTHENTICATION_CONTEXT: Final = b"cardd card authentication v1\x00"


class OpenSessions(Protocol):
    """What is needed of the card sessions."""

    async def own(self, session: "CardSession", serial: str) -> "LiveSession":
        """Return an open session of a card."""
        ...

    def reaching(self, card: CardRecord) -> AbstractAsyncContextManager[None]:
        """Use a card until it goes away."""
        ...

    async def while_logged_in(self, card: CardRecord, use: Awaitable[bytes]) -> bytes:
        """Await the use of a key."""
        ...


class CardKeys:
    """The keys of cards that have a session.

    Every method raises:
        CardSessionRequiredError: the session is that of another card.
        CardSessionUnknownError, CardSessionEndedError
        CardMechanismUnavailableError: this key cannot do that through this module.
        CardRemovedError: the card was pulled meanwhile.
        TokenFaultError: the token failed.
    """

    def __init__(self, sessions: OpenSessions) -> None:
        self._sessions = sessions

    async def sign(self, serial: str, request: SignRequest, session: "CardSession") -> SignatureView:
        """Sign with one of a card's keys.

        Raises:
            InvalidFieldsError: role, mechanism, data or digest.
        """
        card = (await self._sessions.own(session, serial)).card
        asked = prepare(request)
        key = _key(card, request.role)
        signature = await self._signature(card, key, asked, shown=request.mechanism)
        return SignatureView(signature=signature, mechanism=request.mechanism, certificate=key.der)

    async def authenticate(
        self, serial: str, request: AuthenticationRequest, session: "CardSession"
    ) -> AuthenticationView:
        """Sign a challenge, behind a constant context, with the card's authentication key."""
        card = (await self._sessions.own(session, serial)).card
        key = _key(card, CardRole.AUTHENTICATION)
        asked = Signable(SignMechanism.SHA256_RSA_PKCS, AUTHENTICATION_CONTEXT + request.challenge)
        signature = await self._signature(card, key, asked, shown=asked.mechanism)
        return AuthenticationView(
            signature=signature, mechanism=asked.mechanism, certificate=key.der, signed=asked.data
        )

    async def decrypt(self, serial: str, request: DecryptRequest, session: "CardSession") -> DecryptionView:
        """Decrypt with one of a card's keys.

        Raises:
            InvalidFieldsError: role or mechanism.
        """
        card = (await self._sessions.own(session, serial)).card
        asked = decrypt_mechanism(request.mechanism)
        key, access = _key(card, request.role), card.reached()
        check_capability(card.capabilities, key.role, "decrypt", asked, module=access.module)
        async with self._using(card, key.role, asked):
            plaintext = await self._sessions.while_logged_in(
                card, access.tokens.decrypt(access.token_serial, key.key_id, asked, request.ciphertext)
            )
        return DecryptionView(plaintext=plaintext, mechanism=asked.value)

    async def _signature(self, card: CardRecord, key: CardKey, asked: Signable, *, shown: str) -> bytes:
        access, able = card.reached(), offered(card.capabilities)
        for mechanism in (shown, asked.mechanism):
            check_capability(able, key.role, "sign", mechanism, module=access.module)
        final = for_module(asked, card.capabilities, key.role)
        async with self._using(card, key.role, shown):
            return await self._sessions.while_logged_in(
                card,
                access.tokens.sign(
                    access.token_serial, key.key_id, final.mechanism, final.data, spki=key.spki
                ),
            )

    @asynccontextmanager
    async def _using(self, card: CardRecord, role: CardRole, mechanism: str) -> AsyncIterator[None]:
        async with self._sessions.reaching(card):
            try:
                yield
            except MechanismUnavailableError:
                raise unavailable(role, mechanism, module=card.reached().module) from None


def _key(card: CardRecord, role: CardRole) -> CardKey:
    key = card.key(role)
    if key is None:
        raise InvalidFieldsError(
            [
                FieldProblem(
                    "role",
                    Text(
                        f"names a key that this card does not have: {role.value}",
                        f"désigne une clé que cette carte n’a pas : {role.value}",
                    ),
                )
            ]
        )
    return key
