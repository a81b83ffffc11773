"""What can go wrong between a state and its backup."""

from cardd.errors import CarddError, ConflictError, FieldProblem, InvalidFieldsError, UnavailableError
from cardd.text import Text


class BackupFailedError(UnavailableError):
    """A backup could not be written; nothing of it is left."""

    code = "backup_failed"
    title = Text("The backup could not be made", "La sauvegarde n’a pas pu être faite")
    default_advice = Text(
        "Check the free space and the rights of the backup directory, then ask again.",
        "Vérifiez l’espace libre et les droits du répertoire des sauvegardes, puis redemandez.",
    )


class BackupUnreadableError(CarddError):
    """A file is no backup, is damaged or cut short, or is not for this identity."""

    code = "backup_unreadable"
    status = 422
    title = Text("The backup cannot be read", "La sauvegarde est illisible")
    default_advice = Text(
        "Give the whole file and the identity of one of its recipients; nothing was changed here.",
        "Donnez le fichier entier et l’identité d’un de ses destinataires ; rien n’a été changé ici.",
    )


class StateNotEmptyError(ConflictError):
    """A backup is restored into an empty state directory only."""

    code = "state_not_empty"
    title = Text("The state directory is not empty", "Le répertoire d’état n’est pas vide")
    default_advice = Text(
        "Name a new directory with --state-dir, or move the present state away first.",
        "Nommez un nouveau répertoire avec --state-dir, ou écartez d’abord l’état présent.",
    )


class RestoreUnfinishedError(ConflictError):
    """A restore was cut short here; a daemon must not begin a new PKI beside it."""

    code = "restore_unfinished"
    title = Text("A restore was cut short here", "Une restauration a été interrompue ici")
    default_advice = Text(
        "Run `cardd restore` again; or remove the directory `.restoring` to give the restore up.",
        "Relancez « cardd restore » ; ou supprimez le répertoire « .restoring » pour y renoncer.",
    )


class NoRecipientError(InvalidFieldsError):
    """Nobody could open the backup."""

    def __init__(self) -> None:
        rule = Text(
            "at least one is needed, here or in the setting backup.recipients: an age recipient (age1…) "
            "or an SSH public key",
            "il en faut au moins un, ici ou dans le paramètre backup.recipients : un destinataire age (age1…) "
            "ou une clé publique SSH",
        )
        super().__init__([FieldProblem("recipients", rule)])


class RecipientInvalidError(InvalidFieldsError):
    """A recipient is not one of age's."""

    def __init__(self, position: int) -> None:
        rule = Text(
            "not an age recipient (age1…) nor an SSH public key (ssh-ed25519, ssh-rsa)",
            "ni un destinataire age (age1…) ni une clé publique SSH (ssh-ed25519, ssh-rsa)",
        )
        super().__init__([FieldProblem(f"recipients[{position}]", rule)])
