"""What can go wrong between the rooms and the database."""

from cardd.errors import ConflictError, UnavailableError
from cardd.text import Text


class StoreUnavailableError(UnavailableError):
    """The database cannot be written or read now (disk full, read-only, locked by another program)."""

    code = "store_unavailable"
    title = Text("The state cannot be written", "L’état ne peut pas être écrit")
    default_advice = Text(
        "Check the disk's free space and the rights of the state directory, then send the request again.",
        "Vérifiez l’espace libre et les droits du répertoire d’état, puis renvoyez la demande.",
    )


class IdempotencyKeyReusedError(ConflictError):
    """An `Idempotency-Key` came again with another request."""

    code = "idempotency_key_reused"
    status = 422
    title = Text(
        "This Idempotency-Key was used for another request",
        "Cette clé d’idempotence a servi à une autre demande",
    )
    default_advice = Text(
        "Use a new key for every new request.", "Utilisez une nouvelle clé pour chaque nouvelle demande."
    )
