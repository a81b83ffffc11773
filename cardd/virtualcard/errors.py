"""What the virtual card's room can refuse."""

from cardd.errors import CarddError, ConflictError, UnavailableError
from cardd.text import Text


class VirtualReaderUnavailableError(UnavailableError):
    """No virtual reader listens at the address, or another card is in it."""

    code = "virtual_reader_unavailable"
    title = Text("No virtual reader answers", "Aucun lecteur virtuel ne répond")
    default_advice = Text(
        "Start pcscd with the virtual reader's driver (package vsmartcard-vpcd), then insert the card again.",
        "Démarrez pcscd avec le pilote de lecteur virtuel (paquet vsmartcard-vpcd), puis réinsérez la carte.",
    )

    @classmethod
    def at(cls, address: str) -> "VirtualReaderUnavailableError":
        """Make the error for the reader that should listen at `address`."""
        return cls(
            Text(
                f"No virtual reader listens at {address}.",
                f"Aucun lecteur virtuel n’écoute à l’adresse {address}.",
            ),
            address=address,
        )


class ConfinementUnavailableError(UnavailableError):
    """A private pcscd cannot run here: a program is missing or the system allows no namespace."""

    code = "confinement_unavailable"
    title = Text("The virtual reader cannot be confined", "Le lecteur virtuel ne peut pas être confiné")
    default_advice = Text(
        "Allow user namespaces or run as root; otherwise start pcscd yourself and keep ports 35963 and 35964 closed.",
        "Autorisez les espaces de noms utilisateur ou lancez en root ; sinon démarrez pcscd vous-même et "
        "fermez les ports 35963 et 35964.",
    )


class CardStateError(ConflictError):
    """The file that keeps a virtual card's state is not one, or cannot be written."""

    code = "virtual_card_state_unusable"
    title = Text("The virtual card's state cannot be used", "L’état de la carte virtuelle est inutilisable")
    default_advice = Text(
        "Restore the file from a backup, or remove it: the card then starts anew with its first PIN.",
        "Restaurez le fichier, ou supprimez-le : la carte repart alors avec son premier code.",
    )


class CardFileError(ConflictError):
    """The folder of a virtual card holds none that can be used, or cannot be written."""

    code = "virtual_card_file_unusable"
    title = Text(
        "The virtual card's file cannot be used", "Le fichier de la carte virtuelle est inutilisable"
    )
    default_advice = Text(
        "Restore the file from a backup, or make a new card.",
        "Restaurez le fichier, ou créez une nouvelle carte.",
    )


class NoFreeReaderError(ConflictError):
    """Every virtual reader holds a card, or there are no virtual readers."""

    code = "virtual_reader_not_free"
    title = Text("No virtual reader is free", "Aucun lecteur virtuel n’est libre")
    default_advice = Text(
        "Remove a virtual card first (`cardd card remove <serial>`); `cardd readers` shows what is where.",
        "Retirez d’abord une carte virtuelle (`cardd card remove <numéro>`) ; `cardd readers` montre où elles sont.",
    )


class UnfitKeyError(CarddError):
    """A certificate and key that a CPS3 could not hold."""

    code = "virtual_card_key_unfit"
    status = 422
    title = Text("The card cannot hold this key", "La carte ne peut pas porter cette clé")
    default_advice = Text(
        "A CPS3 holds RSA keys of 2048 bits, each with its own certificate.",
        "Une CPS3 porte des clés RSA de 2048 bits, chacune avec son certificat.",
    )
