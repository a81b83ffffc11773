"""Cards, card sessions, and what a card's keys and PIN are used for."""

from datetime import datetime
from http import HTTPMethod, HTTPStatus
from typing import Any

import msgspec

from cardd.applications.errors import ConsentDeniedError, ConsentUnansweredError, TooManyConsentsError
from cardd.applications.types import KeyOperation, KeyUse
from cardd.cards.errors import (
    CardAbsentError,
    CardAlreadyOpposedError,
    CardAlreadyPresentError,
    CardMechanismUnavailableError,
    CardNotAcceptedError,
    CardNotTrustedError,
    CardNotVirtualError,
    CardOpposedError,
    CardRemovedError,
    CardSessionEndedError,
    CardSessionRequiredError,
    CardUnknownError,
    CardUnreadableError,
    PinFinalTryError,
    PinIncorrectError,
    PinLockedError,
    PukIncorrectError,
    PukLockedError,
)
from cardd.cards.types import (
    AuthenticationRequest,
    AuthenticationView,
    CardDataView,
    CardRole,
    CardSessionId,
    CardView,
    DecryptionView,
    DecryptRequest,
    OppositionRequest,
    PinChangeRequest,
    SessionRequest,
    SignatureView,
    SignRequest,
    TestCardRequest,
    UnblockRequest,
)
from cardd.cards.virtualcards import FaultsRequest, VirtualCardNotSeenError
from cardd.orders.errors import HabilitationNotApprovedError
from cardd.orders.paging import Page, PageRequest
from cardd.orders.types import HabilitationId, HabilitationView, OfferUsages, StructureView
from cardd.text import Text
from cardd.virtualcard.errors import NoFreeReaderError
from cardd_pkcs11.types import SignMechanism
from cardd_webservice.guard.policy import Access
from cardd_webservice.operations import (
    ORDER,
    READ,
    REVOKE,
    SESSION_HEADER,
    SIGN,
    Call,
    Keeping,
    Nothing,
    Operation,
    Parameter,
    Reply,
)
from cardd_webservice.paging import page_of

_TAG = "Cards and readers"
_SERIAL = Parameter("serial", "The card's serial: 8 digits.", example="00000017")
_CARD_ERRORS = (
    CardUnknownError,
    CardAbsentError,
    CardUnreadableError,
    CardRemovedError,
    CardOpposedError,
    CardNotAcceptedError,
)
_PIN_ERRORS = (
    *_CARD_ERRORS,
    CardNotTrustedError,
    PinIncorrectError,
    PinLockedError,
    PinFinalTryError,
)
_KEY_ERRORS = (
    CardUnknownError,
    CardAbsentError,
    CardRemovedError,
    CardSessionRequiredError,
    CardSessionEndedError,
    CardMechanismUnavailableError,
    ConsentDeniedError,
    ConsentUnansweredError,
    TooManyConsentsError,
)


class SessionHabilitation(msgspec.Struct, frozen=True, kw_only=True):
    """What one habilitation lets the card's holder manage."""

    id: HabilitationId
    structures: tuple[StructureView, ...]
    offers: tuple[OfferUsages, ...]


class OpenedSession(msgspec.Struct, frozen=True, kw_only=True):
    """An open card session; its `id` is a secret, sent in the header `Card-Session`."""

    id: CardSessionId
    card: str
    expires_at: datetime
    habilitations: tuple[SessionHabilitation, ...]


async def list_cards(call: Call[PageRequest]) -> Reply:
    """Answer a page of the cards known, by serial."""
    return Reply(page_of(await call.services.cards.list(), lambda card: card.serial, call.given))


async def get_card(call: Call[Nothing]) -> Reply:
    """Answer one card."""
    return Reply(await call.services.cards.get(call.path("serial")))


async def get_card_data(call: Call[Nothing]) -> Reply:
    """Answer identity, languages and activities as read from the card."""
    return Reply(await call.services.cards.data(call.path("serial")))


async def create_test_card(call: Call[TestCardRequest]) -> Reply:
    """Make a test card for an approved habilitation."""
    return Reply(await call.services.cards.create(call.given), status=HTTPStatus.CREATED)


async def insert_test_card(call: Call[Nothing]) -> Reply:
    """Put a test card into its reader."""
    return Reply(await call.services.cards.insert(call.path("serial")))


async def remove_test_card(call: Call[Nothing]) -> Reply:
    """Take a test card out of its reader; its session ends at once."""
    return Reply(await call.services.cards.remove(call.path("serial")))


async def set_faults(call: Call[FaultsRequest]) -> Reply:
    """Have a virtual card misbehave from its next insertion."""
    await call.services.cards.set_faults(call.path("serial"), call.given)
    return Reply(status=HTTPStatus.NO_CONTENT)


async def oppose_card(call: Call[OppositionRequest]) -> Reply:
    """Oppose a card for ever; all its certificates are revoked with it."""
    return Reply(await call.services.cards.oppose(call.path("serial"), call.given.reason))


async def open_session(call: Call[SessionRequest]) -> Reply:
    """Open a card session with the card's PIN."""
    session = await call.services.sessions.open(call.path("serial"), call.given)
    opened = OpenedSession(
        id=session.id,
        card=session.card_serial,
        expires_at=session.expires_at,
        habilitations=tuple(_covered(habilitation) for habilitation in session.habilitations),
    )
    return Reply(opened, status=HTTPStatus.CREATED)


async def close_session(call: Call[Nothing]) -> Reply:
    """End the session named by `Card-Session`, or every session of the card; nothing where there is none.

    An application ends the session that it names only.
    """
    named = call.request.headers.get(SESSION_HEADER)
    if named is None and call.caller.application is not None:
        raise CardSessionRequiredError(
            Text("The request names no card session.", "La demande ne nomme aucune session de carte.")
        )
    await call.services.sessions.close(call.path("serial"), named)
    return Reply(status=HTTPStatus.NO_CONTENT)


async def change_pin(call: Call[PinChangeRequest]) -> Reply:
    """Change the card's PIN."""
    await call.services.sessions.change_pin(call.path("serial"), call.given)
    return Reply(status=HTTPStatus.NO_CONTENT)


async def unblock_pin(call: Call[UnblockRequest]) -> Reply:
    """Set a new PIN with the card's PUK; wrong PUKs are counted. The card's sessions end."""
    await call.services.sessions.unblock_pin(call.path("serial"), call.given)
    return Reply(status=HTTPStatus.NO_CONTENT)


async def sign(call: Call[SignRequest]) -> Reply:
    """Sign with a key of the card."""
    session = call.authorised_session()
    return Reply(await call.services.sessions.sign(call.path("serial"), call.given, session))


async def authenticate(call: Call[AuthenticationRequest]) -> Reply:
    """Sign a challenge: what is signed is a constant context, a zero byte, and the challenge."""
    session = call.authorised_session()
    return Reply(await call.services.sessions.authenticate(call.path("serial"), call.given, session))


async def decrypt(call: Call[DecryptRequest]) -> Reply:
    """Decrypt with a key of the card."""
    session = call.authorised_session()
    return Reply(await call.services.sessions.decrypt(call.path("serial"), call.given, session))


def _sign_use(request: SignRequest) -> KeyUse:
    return KeyUse(operation=KeyOperation.SIGN, role=request.role.value, mechanism=request.mechanism)


def _authenticate_use(_request: AuthenticationRequest) -> KeyUse:
    role = CardRole.AUTHENTICATION.value
    return KeyUse(
        operation=KeyOperation.AUTHENTICATE, role=role, mechanism=SignMechanism.SHA256_RSA_PKCS.value
    )


def _decrypt_use(request: DecryptRequest) -> KeyUse:
    return KeyUse(operation=KeyOperation.DECRYPT, role=request.role.value, mechanism=request.mechanism)


def _covered(habilitation: HabilitationView) -> SessionHabilitation:
    return SessionHabilitation(
        id=habilitation.id, structures=habilitation.structures, offers=habilitation.offers
    )


OPERATIONS: tuple[Operation[Any], ...] = (
    Operation(
        method=HTTPMethod.GET,
        path="/cards",
        handler=list_cards,
        scopes=READ,
        takes=PageRequest,
        answers=Page[CardView],
        summary="List cards",
        tag=_TAG,
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/cards/{serial}",
        handler=get_card,
        scopes=READ,
        takes=Nothing,
        answers=CardView,
        summary="Show a card",
        tag=_TAG,
        parameters=(_SERIAL,),
        errors=(CardUnknownError,),
    ),
    Operation(
        method=HTTPMethod.GET,
        path="/cards/{serial}/data",
        handler=get_card_data,
        scopes=READ,
        takes=Nothing,
        answers=CardDataView,
        summary="Read a card's data objects",
        tag=_TAG,
        parameters=(_SERIAL,),
        errors=(CardUnknownError, CardAbsentError, CardUnreadableError, CardRemovedError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/cards/{serial}/session",
        handler=open_session,
        scopes=ORDER | REVOKE | SIGN,
        takes=SessionRequest,
        answers=OpenedSession,
        summary="Open a card session",
        tag=_TAG,
        status=HTTPStatus.CREATED,
        parameters=(_SERIAL,),
        errors=_PIN_ERRORS,
        keeping=Keeping.MEMORY,
    ),
    Operation(
        method=HTTPMethod.DELETE,
        path="/cards/{serial}/session",
        handler=close_session,
        scopes=ORDER | REVOKE | SIGN,
        takes=Nothing,
        answers=None,
        summary="Close the card session",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_SERIAL,),
        errors=(CardUnknownError, CardSessionRequiredError),
        ends_session=True,
    ),
    Operation(
        method=HTTPMethod.PUT,
        path="/cards/{serial}/pin",
        handler=change_pin,
        takes=PinChangeRequest,
        answers=None,
        summary="Change the PIN",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_SERIAL,),
        errors=_PIN_ERRORS,
    ),
    Operation(
        method=HTTPMethod.PUT,
        path="/cards/{serial}/pin/unblock",
        handler=unblock_pin,
        takes=UnblockRequest,
        answers=None,
        summary="Unblock the PIN with the PUK",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_SERIAL,),
        errors=(*_CARD_ERRORS, PukIncorrectError, PukLockedError, CardMechanismUnavailableError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/cards/{serial}/sign",
        handler=sign,
        scopes=SIGN,
        uses_key=_sign_use,
        takes=SignRequest,
        answers=SignatureView,
        summary="Sign with a key of the card",
        tag=_TAG,
        access=Access.CARD,
        parameters=(_SERIAL,),
        errors=_KEY_ERRORS,
        keeping=Keeping.MEMORY,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/cards/{serial}/authenticate",
        handler=authenticate,
        scopes=SIGN,
        uses_key=_authenticate_use,
        takes=AuthenticationRequest,
        answers=AuthenticationView,
        summary="Sign a challenge with the card's authentication key",
        tag=_TAG,
        access=Access.CARD,
        parameters=(_SERIAL,),
        errors=_KEY_ERRORS,
        keeping=Keeping.MEMORY,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/cards/{serial}/decrypt",
        handler=decrypt,
        scopes=SIGN,
        uses_key=_decrypt_use,
        takes=DecryptRequest,
        answers=DecryptionView,
        summary="Decrypt with a key of the card",
        tag=_TAG,
        access=Access.CARD,
        parameters=(_SERIAL,),
        errors=_KEY_ERRORS,
        keeping=Keeping.MEMORY,
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/cards/{serial}/opposition",
        handler=oppose_card,
        takes=OppositionRequest,
        answers=CardView,
        summary="Oppose a card",
        tag=_TAG,
        parameters=(_SERIAL,),
        errors=(CardUnknownError, CardAlreadyOpposedError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/test-cards",
        handler=create_test_card,
        takes=TestCardRequest,
        answers=CardView,
        summary="Make a test card",
        tag=_TAG,
        status=HTTPStatus.CREATED,
        errors=(HabilitationNotApprovedError,),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/test-cards/{serial}/insert",
        handler=insert_test_card,
        takes=Nothing,
        answers=CardView,
        summary="Insert a test card",
        tag=_TAG,
        parameters=(_SERIAL,),
        errors=(
            CardUnknownError,
            CardAlreadyPresentError,
            CardOpposedError,
            NoFreeReaderError,
            VirtualCardNotSeenError,
        ),
    ),
    Operation(
        method=HTTPMethod.PUT,
        path="/test-cards/{serial}/faults",
        handler=set_faults,
        takes=FaultsRequest,
        answers=None,
        summary="Give a virtual card faults",
        tag=_TAG,
        status=HTTPStatus.NO_CONTENT,
        parameters=(_SERIAL,),
        errors=(CardUnknownError, CardNotVirtualError),
    ),
    Operation(
        method=HTTPMethod.POST,
        path="/test-cards/{serial}/remove",
        handler=remove_test_card,
        takes=Nothing,
        answers=CardView,
        summary="Remove a test card",
        tag=_TAG,
        parameters=(_SERIAL,),
        errors=(CardUnknownError, CardAbsentError, VirtualCardNotSeenError),
    ),
)
