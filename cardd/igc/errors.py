"""What the test PKI refuses, and why."""

from cardd.errors import CarddError
from cardd.text import Text


class PolicyError(CarddError):
    """The PKI's policy breaks a rule of the PKI."""

    code = "pki_policy_invalid"
    status = 500
    title = Text(
        "The settings of the test PKI are not valid", "La configuration de l’IGC de test n’est pas valide"
    )
    default_advice = Text("Correct the named setting.", "Corrigez le paramètre nommé.")


class PkiUnfinishedError(CarddError):
    """The machine that makes the hierarchy has not finished."""

    code = "pki_unfinished"
    status = 503
    title = Text("The test PKI is not finished", "L’IGC de test n’est pas terminée")
    default_advice = Text(
        "Start cardd on the machine that began it, wait until it is ready, then start this one.",
        "Démarrez cardd sur la machine qui l’a commencée, attendez qu’elle soit prête, puis démarrez celle-ci.",
    )


class LintRefusedError(CarddError):
    """The linter found an error in what was about to be signed; `findings` names each."""

    code = "lint_refused"
    status = 422
    title = Text(
        "The linter refuses this certificate or list",
        "Le contrôle de conformité refuse ce certificat ou cette liste",
    )
    default_advice = Text(
        "Change the field that the finding names; nothing was signed.",
        "Changez le champ que nomme le constat ; rien n’a été signé.",
    )


class KeyNotAllowedError(CarddError):
    """The public key's type or size is not allowed by the profile; `allowed` lists what is."""

    code = "key_not_allowed"
    status = 422
    title = Text("The profile does not allow this key", "Le gabarit n’admet pas cette clé")
    default_advice = Text(
        "Make a key of an allowed type and size, then order again.",
        "Créez une clé d’un type et d’une taille admis, puis commandez de nouveau.",
    )


class AuthorityEndingError(CarddError):
    """The certificate would outlive the CA that signs it (`authority`, `not_after`)."""

    code = "authority_ending"
    status = 409
    title = Text("The certification authority ends too soon", "L’autorité de certification expire trop tôt")
    default_advice = Text(
        "Prepare a new state with `cardd init`: its authorities start anew.",
        "Préparez un nouvel état avec `cardd init` : ses autorités repartent de zéro.",
    )


class SigningError(CarddError):
    """What the signing key answered is not a signature of what was to be signed; nothing is issued."""

    code = "signing_failed"
    status = 500
    title = Text("The signature does not verify", "La signature ne se vérifie pas")
    default_advice = Text(
        "Run `cardd diagnose`: the token of this authority may not hold the key of its certificate.",
        "Lancez `cardd diagnose` : le jeton de cette autorité ne porte peut-être pas la clé de son certificat.",
    )
