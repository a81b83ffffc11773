"""What can go wrong between the rooms and the database."""

from cardd.errors import CarddError, ConflictError, UnavailableError
from cardd.text import Text


class StoreUnavailableError(UnavailableError):
    """The database cannot be written or read now (away, disk full, read-only, locked by another program)."""

    code = "store_unavailable"
    title = Text("The state cannot be written", "L’état ne peut pas être écrit")
    default_advice = Text(
        "Check that the database server runs, or the disk's free space and the rights of the state directory, then "
        "send the request again.",
        "Vérifiez que le serveur de base de données fonctionne, ou l’espace libre et les droits du répertoire d’état, "
        "puis renvoyez la demande.",
    )


class StoreNewerError(CarddError):
    """The tables are those of a newer version."""

    code = "store_newer"
    title = Text("The state is of a newer version", "L’état est d’une version plus récente")
    default_advice = Text(
        "Upgrade cardd on this machine; all machines of one database run the same version.",
        "Mettez cardd à jour sur cette machine ; toutes les machines d’une base exécutent la même version.",
    )


class CopyUnfaithfulError(UnavailableError):
    """A copy of the database is not what is in it; it was given up."""

    code = "copy_unfaithful"
    title = Text("The database could not be copied", "La base de données n’a pas pu être copiée")
    default_advice = Text(
        "Ask again; if it happens twice, run `cardd audit verify` and report the table that is named.",
        "Redemandez ; si cela se répète, exécutez « cardd audit verify » et signalez la table nommée.",
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
