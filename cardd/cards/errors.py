"""What can go wrong with a card, its PIN and its sessions."""

from enum import StrEnum, unique

from cardd.errors import CarddError, ConflictError, NotFoundError
from cardd.text import Text


@unique
class SessionEnd(StrEnum):
    """Why a card session is over."""

    CLOSED = "closed"
    EXPIRED = "expired"
    REMOVED = "removed"
    OPPOSED = "opposed"
    #: The card is no longer logged in: a wrong PIN resets it, and so does a lost token host.
    LOGGED_OUT = "logged_out"
    #: Its card has too many sessions, and this was the oldest.
    REPLACED = "replaced"


class CardUnknownError(NotFoundError):
    """No card bears that serial."""

    code = "card_unknown"
    title = Text("Unknown card", "Carte inconnue")

    @classmethod
    def named(cls, serial: str) -> "CardUnknownError":
        """Make the error for the serial asked for."""
        shown = serial[:80]
        return cls(
            Text(f"No card has the serial “{shown}”.", f"Aucune carte ne porte le numéro « {shown} »."),
            advice=Text("`cardd cards` lists the known cards.", "`cardd cards` liste les cartes connues."),
        )


class CardAbsentError(ConflictError):
    """The card is known but in no reader."""

    code = "card_absent"
    title = Text("The card is not in a reader", "La carte n’est pas dans un lecteur")
    default_advice = Text(
        "Insert the card (for a test card: `cardd card insert <serial>`) and try again.",
        "Insérez la carte (pour une carte de test : `cardd card insert <numéro>`) et réessayez.",
    )


class CardUnreadableError(CarddError):
    """The card is in a reader, but no module drives it."""

    code = "card_unreadable"
    status = 503
    title = Text("The card cannot be used here", "La carte est inutilisable ici")
    default_advice = Text(
        "`cardd diagnose` lists the modules for cards; OpenSC drives CPS3 cards (package opensc-pkcs11).",
        "`cardd diagnose` liste les modules pour cartes ; OpenSC pilote les CPS3 (paquet opensc-pkcs11).",
    )

    @classmethod
    def because(cls, serial: str, problem: Text | None) -> "CardUnreadableError":
        """Make the error of a card in a reader."""
        why = problem or Text("It has not been read yet.", "Elle n’a pas encore été lue.")
        return cls(
            Text(
                f"The card {serial} cannot be used. {why.en}", f"La carte {serial} est inutilisable. {why.fr}"
            )
        )


class CardElsewhereError(ConflictError):
    """A card that was made on another machine is moved there."""

    code = "card_elsewhere"
    title = Text("The card is on another machine", "La carte est sur une autre machine")
    default_advice = Text(
        "Insert and remove it on the machine where it was made, or make a test card here.",
        "Insérez-la et retirez-la sur la machine où elle a été créée, ou créez ici une carte de test.",
    )

    @classmethod
    def named(cls, serial: str) -> "CardElsewhereError":
        """Make the error for a card."""
        return cls(
            Text(
                f"The card {serial} was made on another machine of this database.",
                f"La carte {serial} a été créée sur une autre machine de cette base.",
            )
        )


class CardAlreadyPresentError(ConflictError):
    """A card that is in a reader cannot be inserted."""

    code = "card_already_present"
    title = Text("The card is in a reader already", "La carte est déjà dans un lecteur")


class CardNotVirtualError(ConflictError):
    """Only a virtual card can be given faults."""

    code = "card_not_virtual"
    title = Text("The card is not virtual", "La carte n’est pas virtuelle")
    default_advice = Text(
        "Make a virtual card: `cardd card new --medium virtual`.",
        "Créez une carte virtuelle : `cardd card new --medium virtual`.",
    )


class CardRemovedError(ConflictError):
    """The card was pulled while it was in use."""

    code = "card_removed"
    title = Text("The card was removed", "La carte a été retirée")
    default_advice = Text(
        "Insert the card again and open a new card session.",
        "Réinsérez la carte et ouvrez une nouvelle session.",
    )


class CardOpposedError(CarddError):
    """The card is blocked for good."""

    code = "card_opposed"
    status = 403
    title = Text("The card is opposed", "La carte est opposée")
    default_advice = Text(
        "Opposition is definitive: make a new card (`cardd card new`).",
        "L’opposition est définitive : créez une nouvelle carte (`cardd card new`).",
    )


class CardAlreadyOpposedError(ConflictError):
    """A card is opposed once."""

    code = "card_already_opposed"
    title = Text("The card is opposed already", "La carte est déjà opposée")


class CardNotTrustedError(CarddError):
    """The card did not prove what it is; `rule` names the check that failed."""

    code = "card_not_trusted"
    status = 403
    title = Text("The card is not accepted", "La carte n’est pas acceptée")
    default_advice = Text(
        "Use another card; `cardd cards` shows the state of each and of its certificates.",
        "Utilisez une autre carte ; `cardd cards` montre leur état et celui de leurs certificats.",
    )


class CardNotAcceptedError(CarddError):
    """The card is not one of this test PKI; `environment` says what it is. Its PIN was not asked for."""

    code = "card_not_accepted"
    status = 403
    title = Text("This card is not accepted", "Cette carte n’est pas acceptée")

    @classmethod
    def production(cls, serial: str, issuer: str) -> "CardNotAcceptedError":
        """Make the error of a real professional's card."""
        return cls(
            Text(
                f"The card {serial} is a card of the production PKI (issuer {issuer}); only test cards are used here.",
                f"La carte {serial} est une carte de l’IGC de production (émetteur {issuer}) ; "
                "seules des cartes de test sont utilisées ici.",
            ),
            advice=_ADVICE_TEST_CARD,
            environment="production",
        )

    @classmethod
    def of_another_pki(cls, serial: str, issuer: str, environment: str) -> "CardNotAcceptedError":
        """Make the error of a card whose issuer is not a CA of this test PKI."""
        return cls(
            Text(
                f"The card {serial} was not issued by this test PKI (issuer {issuer}): it cannot order here.",
                f"La carte {serial} n’a pas été émise par cette IGC de test (émetteur {issuer}) : "
                "elle ne peut pas commander ici.",
            ),
            advice=_ADVICE_TEST_CARD,
            environment=environment,
        )


class PinIncorrectError(CarddError):
    """The PIN was wrong and cost a try; `tries_left` says how many remain."""

    code = "pin_incorrect"
    status = 403
    title = Text("The PIN is wrong", "Le code porteur est faux")

    @classmethod
    def with_tries(cls, tries_left: int) -> "PinIncorrectError":
        """Make the error of a try that was counted."""
        return cls(
            Text(
                f"The PIN is wrong; tries left: {tries_left}.",
                f"Le code porteur est faux ; essais restants : {tries_left}.",
            ),
            advice=_ADVICE_LOCKED if tries_left == 0 else _ADVICE_RETRY,
            tries_left=tries_left,
        )


class PinLockedError(CarddError):
    """No try is left; the PIN was not given to the card."""

    code = "pin_locked"
    status = 423
    title = Text("The PIN is blocked", "Le code porteur est bloqué")

    @classmethod
    def of(cls) -> "PinLockedError":
        """Make the error."""
        return cls(
            Text("No try is left on this card.", "Il ne reste aucun essai sur cette carte."),
            advice=_ADVICE_LOCKED,
            tries_left=0,
        )


class PinFinalTryError(ConflictError):
    """One try is left, and the caller did not accept to use it; the PIN was not given to the card."""

    code = "pin_final_try"
    title = Text("Only one try is left", "Il ne reste qu’un essai")

    @classmethod
    def of(cls) -> "PinFinalTryError":
        """Make the error."""
        return cls(
            Text("One more wrong PIN blocks this card.", "Un code porteur faux de plus bloque cette carte."),
            advice=Text(
                "Make sure of the PIN, then send it with `accept_final_try`.",
                "Assurez-vous du code, puis envoyez-le avec `accept_final_try`.",
            ),
            tries_left=1,
        )


class PukIncorrectError(CarddError):
    """The PUK was wrong and cost a try; `tries_left` says how many remain, where that is known."""

    code = "puk_incorrect"
    status = 403
    title = Text("The PUK is wrong", "Le code de déblocage est faux")

    @classmethod
    def with_tries(cls, tries_left: int | None) -> "PukIncorrectError":
        """Make the error of a try that was counted."""
        if tries_left is None:
            return cls(Text("The PUK is wrong.", "Le code de déblocage est faux."), advice=_ADVICE_PUK)
        return cls(
            Text(
                f"The PUK is wrong; tries left: {tries_left}.",
                f"Le code de déblocage est faux ; essais restants : {tries_left}.",
            ),
            advice=_ADVICE_LOCKED if tries_left == 0 else _ADVICE_PUK,
            tries_left=tries_left,
        )


class PukLockedError(CarddError):
    """No try of the PUK is left: the card stays blocked."""

    code = "puk_locked"
    status = 423
    title = Text("The PUK is blocked", "Le code de déblocage est bloqué")

    @classmethod
    def of(cls) -> "PukLockedError":
        """Make the error."""
        return cls(
            Text("No try of the PUK is left on this card.", "Il ne reste aucun essai du code de déblocage."),
            advice=_ADVICE_LOCKED,
            tries_left=0,
        )


class CardSessionRequiredError(CarddError):
    """The operation needs an open card session, and none was named."""

    code = "card_session_required"
    status = 403
    title = Text("A card session is required", "Une session de carte est nécessaire")
    default_advice = Text(
        "Open one with the card's PIN (`POST /api/v1/cards/{serial}/session`), then send its id as `Card-Session`.",
        "Ouvrez-en une avec le code porteur (`POST /api/v1/cards/{serial}/session`), puis envoyez `Card-Session`.",
    )


class CardSessionUnknownError(CardSessionRequiredError):
    """No session of this daemon bears that id; sessions do not outlive the daemon."""

    code = "card_session_unknown"
    title = Text("Unknown card session", "Session de carte inconnue")


class CardSessionEndedError(ConflictError):
    """The session named is over; `reason` is a `SessionEnd`."""

    code = "card_session_ended"
    title = Text("The card session is over", "La session de carte est terminée")
    default_advice = Text("Open a new card session.", "Ouvrez une nouvelle session de carte.")

    @classmethod
    def because(cls, reason: SessionEnd) -> "CardSessionEndedError":
        """Make the error of a session that ended for `reason`."""
        return cls(_ENDS[reason], reason=reason.value)


class CardMechanismUnavailableError(ConflictError):
    """This key cannot do that through this module; `modules_that_could` names those that can."""

    code = "mechanism_unavailable"
    title = Text("This key cannot do that here", "Cette clé ne peut pas faire cela ici")
    default_advice = Text(
        "Choose one of the card's `capabilities`, or use a module that offers the mechanism.",
        "Choisissez une des `capabilities` de la carte, ou un module qui offre le mécanisme.",
    )


_ADVICE_RETRY = Text(
    "Check the PIN before the next try; a card blocks after three wrong ones in a row.",
    "Vérifiez le code avant l’essai suivant ; une carte se bloque après trois codes faux de suite.",
)
_ADVICE_LOCKED = Text(
    "The card is blocked: unblock it with its PUK (`cardd card unblock`) or make a new one (`cardd card new`).",
    "La carte est bloquée : débloquez-la avec son code de déblocage (`cardd card unblock`) ou créez-en une autre.",
)
_ADVICE_PUK = Text(
    "Check the PUK before the next try; that of test cards is 12345678.",
    "Vérifiez le code avant l’essai suivant ; celui des cartes de test est 12345678.",
)
_ADVICE_TEST_CARD = Text(
    "Make a test card with `cardd card new`.", "Créez une carte de test avec `cardd card new`."
)
_ENDS = {
    SessionEnd.CLOSED: Text("The card session was closed.", "La session de carte a été fermée."),
    SessionEnd.EXPIRED: Text("The card session has expired.", "La session de carte a expiré."),
    SessionEnd.REMOVED: Text("The card was removed.", "La carte a été retirée."),
    SessionEnd.OPPOSED: Text("The card was opposed.", "La carte a été opposée."),
    SessionEnd.LOGGED_OUT: Text("The card is no longer logged in.", "La carte n’est plus authentifiée."),
    SessionEnd.REPLACED: Text(
        "Newer sessions of the same card took its place.",
        "Des sessions plus récentes de la même carte ont pris sa place.",
    ),
}
