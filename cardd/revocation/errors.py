"""What the revocation cache refuses, and why."""

from cardd.errors import CarddError, ConflictError
from cardd.text import Text


class ListRefusedError(CarddError):
    """A list that was fetched cannot be relied on; the one held stays. `rule` names what it breaks."""

    code = "crl_refused"
    status = 502
    title = Text("The revocation list is refused", "La liste de révocation est refusée")
    default_advice = Text(
        "The list held stays in use. Tell whoever publishes the list which rule it breaks.",
        "La liste détenue reste en service. Indiquez à qui publie la liste la règle qu’elle enfreint.",
    )

    @classmethod
    def of(cls, rule: str, en: str, fr: str) -> "ListRefusedError":
        """Make the error for a broken `rule`."""
        return cls(Text(en, fr), rule=rule)

    @property
    def rule(self) -> str:
        """The broken rule's short name."""
        return str(self.data["rule"])


class FetchFailedError(CarddError):
    """No address gave the list; `rule` names what stopped the last one."""

    code = "crl_fetch_failed"
    status = 502
    title = Text("The revocation list was not fetched", "La liste de révocation n’a pas été obtenue")
    default_advice = Text(
        "Nothing is lost: the list held stays in use and the fetch is repeated. Check the address and the network.",
        "Rien n’est perdu : la liste détenue reste en service et la requête sera répétée. Vérifiez l’adresse et le "
        "réseau.",
    )

    @classmethod
    def of(cls, rule: str, en: str, fr: str, *, retry_after: float | None = None) -> "FetchFailedError":
        """Make the error for what stopped a fetch; `retry_after` is the server's wish, in seconds."""
        if retry_after is None:
            return cls(Text(en, fr), rule=rule)
        return cls(Text(en, fr), rule=rule, retry_after=retry_after)

    @property
    def rule(self) -> str:
        """What stopped the fetch, in short."""
        return str(self.data["rule"])

    @property
    def retry_after(self) -> float | None:
        """Seconds that the server asked to be left alone."""
        value = self.data.get("retry_after")
        return None if value is None else float(value)


class ListUnavailableError(CarddError):
    """No list is held under this identifier yet."""

    code = "crl_unavailable"
    status = 503
    title = Text("The list is not held", "La liste n’est pas détenue")
    default_advice = Text(
        "`cardd crl refresh` fetches it at once and says what stands in the way.",
        "`cardd crl refresh` la demande immédiatement et dit ce qui s’y oppose.",
    )


class SourceKnownError(ConflictError):
    """The list is kept already, as `crl`."""

    code = "crl_known"
    title = Text("This list is kept already", "Cette liste est déjà suivie")
    default_advice = Text("Use it under its identifier.", "Utilisez-la sous son identifiant.")


class SourceFixedError(ConflictError):
    """A list of the test PKI or of the settings cannot be removed through the API."""

    code = "crl_fixed"
    title = Text("This list cannot be removed", "Cette liste ne peut pas être retirée")
    default_advice = Text(
        "Lists of the test PKI stay; one of the settings is removed there.",
        "Les listes de l’IGC de test restent ; une liste de la configuration s’y retire.",
    )


class IndexerLostError(CarddError):
    """The process that indexes lists ended before it was done; the list held stays."""

    code = "indexer_lost"
    status = 503
    title = Text("The list was not indexed", "La liste n’a pas été indexée")
    default_advice = Text(
        "The list held stays in use; the fetch is repeated.",
        "La liste détenue reste en service ; la requête sera répétée.",
    )


class NothingTrustedError(CarddError):
    """No certificate of the scope is held: a bundle of nothing would be taken for one, and trust nobody silently."""

    code = "nothing_trusted"
    status = 404
    title = Text("No certificate of this scope is held", "Aucun certificat de ce périmètre n’est détenu")
    default_advice = Text(
        "Put those that you have checked into trust/igc_sante of the state directory; they count from the next call.",
        "Déposez ceux que vous avez vérifiés dans trust/igc_sante du répertoire d’état ; ils comptent dès l’appel "
        "suivant.",
    )
