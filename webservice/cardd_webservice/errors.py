"""What the web service itself refuses; refusals of the rooms come as their own errors."""

from cardd.errors import CarddError, ConflictError, UnavailableError
from cardd.text import Text


class RefusedError(CarddError):
    """A request that the guard turns away; `reason` is what the refusals are counted by."""

    reason = "refused"


class MisdirectedRequestError(RefusedError):
    """The `Host` is not one of ours: DNS rebinding, or a proxy (RFC 9110 §15.5.20)."""

    code = "misdirected_request"
    reason = "host"
    status = 421
    title = Text("This address is not served here", "Cette adresse n’est pas servie ici")
    default_advice = Text(
        "Call the daemon as 127.0.0.1, localhost or [::1], with its port.",
        "Appelez le démon par 127.0.0.1, localhost ou [::1], avec son port.",
    )


class ForeignOriginError(RefusedError):
    """A page of another origin calls (RFC 6454; Fetch Metadata)."""

    code = "origin_refused"
    reason = "origin"
    status = 403
    title = Text("Pages of other origins may not call", "Les pages d’autres origines ne peuvent pas appeler")
    default_advice = Text(
        "Call from a program, from the daemon's own pages, or pair the page's origin (`POST /api/v1/pairings`).",
        "Appelez depuis un programme ou une page du démon, ou appairez l’origine (`POST /api/v1/pairings`).",
    )


class MalformedRequestError(RefusedError):
    """What came is not HTTP (RFC 9112)."""

    code = "malformed_request"
    reason = "malformed"
    status = 400
    title = Text("Not a well-formed request", "Demande mal formée")
    default_advice = Text(
        "Send HTTP/1.1, with at most 64 headers of at most 8190 bytes each.",
        "Envoyez du HTTP/1.1, avec au plus 64 en-têtes d’au plus 8190 octets chacun.",
    )


class ForeignPeerError(RefusedError):
    """Another user of the machine is at the other end of the connection."""

    code = "peer_refused"
    reason = "peer"
    status = 403
    title = Text("This user may not call", "Cet utilisateur ne peut pas appeler")
    default_advice = Text(
        "Call as the user who runs the daemon; `web.other_users` lets paired applications of other users in.",
        "Appelez en tant que l’utilisateur qui a lancé le démon ; `web.other_users` admet les applications appairées "
        "des autres utilisateurs.",
    )


class UnauthenticatedError(RefusedError):
    """No bearer token, or a wrong one (RFC 6750 §3)."""

    code = "unauthenticated"
    reason = "token"
    status = 401
    title = Text("A token is required", "Un jeton d’accès est nécessaire")
    default_advice = Text(
        "Send `Authorization: Bearer` with the token of the file `token` of the state directory, or of a pairing.",
        "Envoyez `Authorization: Bearer` avec le jeton du fichier `token` du répertoire d’état, ou d’un appairage.",
    )


class TooManyAttemptsError(RefusedError):
    """So many attempts failed, or so many requests came, that no more are looked at for a while."""

    code = "too_many_attempts"
    reason = "attempts"
    status = 429
    title = Text("Too many attempts", "Trop de tentatives")
    default_advice = Text(
        "Wait for the seconds named in `retry_after`, then try again.",
        "Attendez le nombre de secondes indiqué par `retry_after`, puis réessayez.",
    )


class ScopeMissingError(RefusedError):
    """The application may not do this (RFC 6750 §3.1); `scopes` names those of which one is needed."""

    code = "insufficient_scope"
    reason = "scope"
    status = 403
    title = Text("The application may not do this", "L’application n’y est pas autorisée")
    default_advice = Text(
        "Pair the application again, and ask for one of the `scopes` named.",
        "Appairez de nouveau l’application, en demandant l’une des portées nommées par `scopes`.",
    )


class OwnerRequiredError(RefusedError):
    """Only the owner in person may do this."""

    code = "owner_required"
    reason = "owner"
    status = 403
    title = Text("Only the owner may do this", "Réservé au propriétaire")
    default_advice = Text(
        "Do it on the daemon's own pages (`cardd open`) or with the `cardd` command.",
        "Faites-le depuis les pages du démon (`cardd open`) ou avec la commande `cardd`.",
    )


class SignInRequiredError(RefusedError):
    """A page was asked for by a browser that is not signed in."""

    code = "sign_in_required"
    reason = "sign_in"
    status = 403
    title = Text("Sign in first", "Connectez-vous d’abord")
    default_advice = Text(
        "Run `cardd open`: it opens these pages with a link that works once.",
        "Exécutez `cardd open` : la commande ouvre ces pages par un lien à usage unique.",
    )


class FormRefusedError(RefusedError):
    """A form without the token of the session it is sent in: not from one of our pages, or from an old one."""

    code = "form_refused"
    reason = "form"
    status = 403
    title = Text("This form is not accepted", "Ce formulaire n’est pas accepté")
    default_advice = Text(
        "Go back, load the page again and send the form once more.",
        "Revenez en arrière, rechargez la page et renvoyez le formulaire.",
    )


class UnsupportedMediaTypeError(RefusedError):
    """A body of another kind than the one taken here."""

    code = "unsupported_media_type"
    reason = "media_type"
    status = 415
    title = Text("This kind of body is not taken", "Ce type de contenu n’est pas accepté")


class BodyTooLargeError(RefusedError):
    """A body beyond the limit."""

    code = "body_too_large"
    reason = "body_size"
    status = 413
    title = Text("The body is too large", "Le contenu est trop volumineux")
    default_advice = Text("Send a smaller request.", "Envoyez une demande plus petite.")


class BodyTimeoutError(RefusedError):
    """The body did not arrive in time."""

    code = "request_timeout"
    reason = "body_time"
    status = 408
    title = Text("The body did not arrive in time", "Le contenu n’est pas arrivé à temps")
    default_advice = Text("Send the request again, whole.", "Renvoyez la demande, en entier.")


class MalformedJsonError(CarddError):
    """The body is not JSON (RFC 8259), or nested deeper than anything this API takes."""

    code = "malformed_json"
    status = 400
    title = Text("The body is not valid JSON", "Le contenu n’est pas du JSON valide")
    default_advice = Text(
        "Send one JSON object, encoded in UTF-8.", "Envoyez un objet JSON, encodé en UTF-8."
    )


class NotAcceptableError(CarddError):
    """None of the media types that the caller accepts exists; `available` lists what does."""

    code = "not_acceptable"
    status = 406
    title = Text("No representation of that kind", "Aucune représentation de ce type")
    default_advice = Text(
        "Name one of the `available` media types in `Accept`.",
        "Nommez dans `Accept` un des types listés par `available`.",
    )


class TooManyStreamsError(RefusedError, UnavailableError):
    """As many event streams are open as the daemon allows."""

    code = "too_many_streams"
    reason = "streams"
    title = Text("Too many event streams are open", "Trop de flux d’événements sont ouverts")
    default_advice = Text(
        "Close a stream that is no longer needed, then connect again.",
        "Fermez un flux devenu inutile, puis reconnectez-vous.",
    )


class PortTakenError(ConflictError):
    """Another program listens on the port; it is never spoken to."""

    code = "port_taken"
    title = Text("The port is taken", "Le port est occupé")


class ResourcesExhaustedError(UnavailableError):
    """Descriptors, memory, processes or disk have run out on this machine."""

    code = "resources_exhausted"
    title = Text("This machine has run out of something", "Une ressource manque sur cette machine")
    default_advice = Text(
        "Send the same request again in a moment; the daemon's log names what is missing.",
        "Renvoyez la même demande dans un instant ; le journal du démon nomme ce qui manque.",
    )

    @classmethod
    def of(cls, error: OSError) -> "ResourcesExhaustedError":
        """Make the error for what the system said."""
        reason = error.strerror or type(error).__name__
        return cls(Text(f"The system says: {reason}.", f"Le système répond : {reason}."), retry_after=2)


class SocketRefusedError(CarddError):
    """The service manager handed over a socket that is not of this machine alone, or of several ports."""

    code = "socket_refused"
    title = Text("A socket handed over is refused", "Un point d’écoute transmis est refusé")
    default_advice = Text(
        "Let the socket unit listen on 127.0.0.1 and [::1], one port, and on Unix sockets only.",
        "L’unité de socket ne doit écouter que sur 127.0.0.1 et [::1], sur un seul port, et sur des sockets Unix.",
    )

    @classmethod
    def of(cls, address: str) -> "SocketRefusedError":
        """Make the error for an address."""
        return cls(
            Text(
                f"The socket on {address} is not the daemon’s to serve.",
                f"Le point d’écoute {address} n’est pas de ceux que le démon sert.",
            )
        )


class RuntimeDirectoryError(CarddError):
    """The directory of the Unix socket is open to other users; the daemon does not start with it."""

    code = "runtime_directory_unsafe"
    title = Text("The runtime directory is not private", "Le répertoire d’exécution n’est pas privé")
    default_advice = Text(
        "Set CARDD_RUNTIME_DIR to a directory of your own, which nobody else writes to.",
        "Donnez à CARDD_RUNTIME_DIR un répertoire à vous, où personne d’autre n’écrit.",
    )
