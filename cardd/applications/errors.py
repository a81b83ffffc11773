"""What can go wrong when an application wants in, or wants to use a card."""

from cardd.errors import CarddError, ConflictError
from cardd.text import Text


class PairingPendingError(ConflictError):
    """The same application asks already; the owner has not decided."""

    code = "pairing_pending"
    title = Text("This application asks already", "Cette application demande déjà")
    default_advice = Text(
        "Wait until the owner has decided about the first request, or until it expires.",
        "Attendez que le propriétaire ait statué sur la première demande, ou qu’elle expire.",
    )


class TooManyPairingsError(CarddError):
    """As many applications ask as are shown at once."""

    code = "too_many_pairings"
    status = 429
    title = Text("Too many applications ask at once", "Trop d’applications demandent en même temps")
    default_advice = Text(
        "Decide about those listed by `cardd pair list`, then ask again.",
        "Statuez sur celles que liste `cardd pair list`, puis redemandez.",
    )


class PairingDeniedError(CarddError):
    """The owner does not let the application in."""

    code = "pairing_denied"
    status = 403
    title = Text("The owner refused", "Le propriétaire a refusé")
    default_advice = Text(
        "Ask again only when the owner wants it.", "Ne redemandez que si le propriétaire le souhaite."
    )


class PairingEndedError(CarddError):
    """The request is over: expired, locked, or its token is in use; `state` says which."""

    code = "pairing_ended"
    status = 410
    title = Text("This pairing is over", "Cet appairage est terminé")
    default_advice = Text("Ask to be paired anew.", "Redemandez un appairage.")


class PairingCodeIncorrectError(CarddError):
    """Not the code, or not the secret, of this pairing; `tries_left` says how many remain."""

    code = "pairing_code_incorrect"
    status = 403
    title = Text("The pairing code is wrong", "Le code d’appairage est faux")
    default_advice = Text(
        "Compare with the six digits that the application shows.",
        "Comparez avec les six chiffres que l’application affiche.",
    )

    @classmethod
    def with_tries(cls, tries_left: int) -> "PairingCodeIncorrectError":
        """Make the error of a try that was counted."""
        return cls(
            Text(
                f"The code is wrong; tries left: {tries_left}.",
                f"Le code est faux ; essais restants : {tries_left}.",
            ),
            tries_left=tries_left,
        )


class ApplicationEndedError(ConflictError):
    """The application was revoked, or its time is over."""

    code = "application_ended"
    title = Text("This application is no longer let in", "Cette application n’a plus accès")
    default_advice = Text(
        "It has to be paired anew to come back.", "Elle doit être appairée de nouveau pour revenir."
    )


class ConsentDeniedError(CarddError):
    """The card's holder does not want this use of the card in this session."""

    code = "consent_denied"
    status = 403
    title = Text("The holder refused", "Le porteur a refusé")
    default_advice = Text(
        "The holder is asked again in another card session only.",
        "Le porteur ne sera interrogé de nouveau que dans une autre session de carte.",
    )


class ConsentUnansweredError(CarddError):
    """The card's holder did not answer in time."""

    code = "consent_unanswered"
    status = 403
    title = Text("The holder did not answer", "Le porteur n’a pas répondu")
    default_advice = Text(
        "Have the holder watch the page Applications or `cardd consent list`, then send the request again.",
        "Demandez au porteur de regarder la page Applications ou `cardd consent list`, puis renvoyez la demande.",
    )


class TooManyConsentsError(CarddError):
    """So many questions wait for the holder that no further one is asked."""

    code = "too_many_consents"
    status = 429
    title = Text("Too many questions wait for the holder", "Trop de questions attendent le porteur")
    default_advice = Text(
        "Wait until the holder has answered those.", "Attendez que le porteur y ait répondu."
    )
