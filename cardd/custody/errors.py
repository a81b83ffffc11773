"""Errors of custody, and the translation of a token host's errors for people."""

from collections.abc import Iterator
from contextlib import contextmanager

from cardd.errors import CarddError, FieldProblem, InvalidFieldsError
from cardd.text import Text
from cardd_pkcs11 import errors as token_errors


class CustodyRefusedError(CarddError):
    """A key turned out weaker than its policy demands; it was destroyed. `data["attributes"]` names why."""

    code = "custody_refused"
    status = 502
    title = Text("The token made a key that is not safe", "Le jeton a produit une clé qui n’est pas sûre")
    default_advice = Text(
        "Use another module: this one does not hold keys as the custody policy demands.",
        "Utilisez un autre module : celui-ci ne garde pas les clés comme la politique l’exige.",
    )


class WeakKeyError(CarddError):
    """A public key breaks a rule; `data["rule"]` names it."""

    code = "weak_key"
    status = 422
    title = Text("The key is not acceptable", "La clé n’est pas acceptable")
    default_advice = Text(
        "Make a new key (RSA 2048, 3072 or 4096 with exponent 65537, or EC P-256 or P-384) with a maintained tool.",
        "Créez une nouvelle clé (RSA 2048, 3072 ou 4096 d’exposant 65537, ou EC P-256 ou P-384) avec un outil à jour.",
    )


class CsrError(InvalidFieldsError):
    """A certification request cannot be used; `fields` names `key.csr`."""

    def __init__(self, problem: Text) -> None:
        super().__init__([FieldProblem("key.csr", problem)])


class CsrMalformedError(CsrError):
    """It is not a PKCS#10 request that can be read."""

    code = "csr_malformed"
    title = Text("The certification request cannot be read", "La demande de certificat est illisible")
    default_advice = Text(
        "Send one PKCS#10 request in PEM or DER, such as `openssl req -new` writes.",
        "Envoyez une demande PKCS#10 en PEM ou en DER, comme l’écrit `openssl req -new`.",
    )


class CsrSignatureInvalidError(CsrError):
    """Its self-signature does not verify: whoever made it does not show that they hold the key."""

    code = "csr_signature_invalid"
    title = Text(
        "The certification request does not prove that its key is held",
        "La demande de certificat ne prouve pas la possession de sa clé",
    )
    default_advice = Text(
        "Make the request anew with the private key itself, and send it unchanged.",
        "Refaites la demande avec la clé privée elle-même et envoyez-la sans la modifier.",
    )


class PinVaultError(CarddError):
    """The recorded PIN of a daemon-held token is missing or unreadable; the token itself is not touched."""

    code = "pin_vault"
    status = 500
    title = Text("A token’s recorded PIN cannot be read", "Le code enregistré d’un jeton est illisible")
    default_advice = Text(
        "Restore the state directory from its backup: without its PIN the token’s keys cannot be used.",
        "Restaurez le répertoire d’état depuis sa sauvegarde : sans son code, les clés du jeton sont inutilisables.",
    )


class TokenFaultError(CarddError):
    """A token or its host refused or failed; subclasses say how."""

    code = "token_error"
    status = 502
    title = Text("The token refused or failed", "Le jeton a refusé ou échoué")
    default_advice = Text(
        "`cardd diagnose` shows the token and its module.", "`cardd diagnose` montre le jeton et son module."
    )


class PinIncorrectFaultError(TokenFaultError):
    """Wrong PIN."""

    code = "pin_incorrect"
    status = 403
    title = Text("The PIN is wrong", "Le code porteur est faux")
    default_advice = Text(
        "Check the PIN before trying again: after three wrong ones it is locked.",
        "Vérifiez le code avant de réessayer : après trois erreurs il est bloqué.",
    )


class PinFinalTryFaultError(TokenFaultError):
    """One try left, not consented to."""

    code = "pin_final_try"
    status = 409
    title = Text("One PIN try is left", "Il reste un seul essai de code")
    default_advice = Text(
        "Send the request again with `accept_final_try` if you are sure of the PIN.",
        "Renvoyez la demande avec `accept_final_try` si vous êtes sûr du code.",
    )


class PinLockedFaultError(TokenFaultError):
    """Locked PIN."""

    code = "pin_locked"
    status = 423
    title = Text("The PIN is locked", "Le code porteur est bloqué")
    default_advice = Text(
        "Have the card unblocked, or use another one.", "Faites débloquer la carte ou utilisez-en une autre."
    )


class PinLengthFaultError(TokenFaultError):
    """The PIN cannot be right; no try was made."""

    code = "pin_malformed"
    status = 422
    title = Text("The PIN is malformed", "Le code porteur est mal formé")
    default_advice = Text(
        "Type the PIN again; no try was spent.", "Saisissez le code à nouveau ; aucun essai n’a été consommé."
    )


class TokenAbsentFaultError(TokenFaultError):
    """The token is not there, or went away."""

    code = "token_absent"
    status = 409
    title = Text("The token is not present", "Le jeton n’est pas présent")
    default_advice = Text("Insert it, then try again.", "Insérez-le puis réessayez.")


class ObjectAbsentFaultError(TokenFaultError):
    """The token holds no such object."""

    code = "token_object_absent"
    status = 404
    title = Text("The token holds no such object", "Le jeton ne contient pas cet objet")


class MechanismUnavailableFaultError(TokenFaultError):
    """The key cannot do that through this module."""

    code = "mechanism_unavailable"
    status = 409
    title = Text("This key cannot do that", "Cette clé ne sait pas faire cela")
    default_advice = Text(
        "The key’s capabilities list what it can do through this module.",
        "Les capacités de la clé indiquent ce qu’elle sait faire avec ce module.",
    )


class NotLoggedInFaultError(TokenFaultError):
    """A login is needed."""

    code = "not_logged_in"
    status = 409
    title = Text("The token is not open", "Le jeton n’est pas ouvert")
    default_advice = Text(
        "Open a card session with the PIN first.", "Ouvrez d’abord une session avec le code porteur."
    )


class TokenHostUnavailableFaultError(TokenFaultError):
    """The host died or hung; the next call starts it again."""

    code = "token_host_unavailable"
    status = 503
    title = Text("The token did not answer", "Le jeton n’a pas répondu")
    default_advice = Text(
        "Try again: its host has been restarted.", "Réessayez : son processus a été redémarré."
    )


class SignatureMismatchFaultError(TokenFaultError):
    """A signature that did not verify was withheld."""

    code = "signature_mismatch"
    title = Text("The token’s signature was wrong", "La signature du jeton était fausse")


class ModuleMissingFaultError(TokenFaultError):
    """The module is not installed."""

    code = "module_missing"
    status = 503
    title = Text("The PKCS#11 module is missing", "Le module PKCS#11 est absent")
    default_advice = Text(
        "Install the package that the detail names.", "Installez le paquet que le détail indique."
    )


class TokenElsewhereFaultError(TokenFaultError):
    """The device, such as the TPM, does not open the token."""

    code = "token_elsewhere"
    status = 409
    title = Text("This device does not open the token", "Cet appareil n’ouvre pas le jeton")
    default_advice = Text(
        "Its keys work only in the TPM that made them, until it is cleared: use that machine. Or give the token up "
        "(`cardd token revoke`), stop the daemon, move the directory `tpm2` out of its state, and order anew.",
        "Ses clés ne servent que dans le TPM qui les a créées, tant qu’il n’est pas réinitialisé : utilisez cette "
        "machine-là. Ou abandonnez le jeton (« cardd token revoke »), arrêtez le démon, sortez le répertoire « tpm2 » "
        "de son état et commandez à nouveau.",
    )


class TokenQuarantinedFaultError(TokenFaultError):
    """A copy of the token was noticed; its keys are not used before the owner decides."""

    code = "token_quarantined"
    status = 409
    title = Text("The token is in quarantine", "Le jeton est en quarantaine")
    default_advice = Text(
        "Its owner decides: `cardd token revoke` if it may have been copied, `cardd token release` if not.",
        "Son propriétaire décide : « cardd token revoke » s’il a pu être copié, « cardd token release » sinon.",
    )


_BY_CODE: dict[token_errors.TokenErrorCode, type[TokenFaultError]] = {
    token_errors.TokenErrorCode.PIN_INCORRECT: PinIncorrectFaultError,
    token_errors.TokenErrorCode.PIN_FINAL_TRY: PinFinalTryFaultError,
    token_errors.TokenErrorCode.PIN_LOCKED: PinLockedFaultError,
    token_errors.TokenErrorCode.PIN_LENGTH: PinLengthFaultError,
    token_errors.TokenErrorCode.TOKEN_NOT_FOUND: TokenAbsentFaultError,
    token_errors.TokenErrorCode.TOKEN_REMOVED: TokenAbsentFaultError,
    token_errors.TokenErrorCode.OBJECT_NOT_FOUND: ObjectAbsentFaultError,
    token_errors.TokenErrorCode.MECHANISM_UNAVAILABLE: MechanismUnavailableFaultError,
    token_errors.TokenErrorCode.NOT_LOGGED_IN: NotLoggedInFaultError,
    token_errors.TokenErrorCode.HOST_LOST: TokenHostUnavailableFaultError,
    token_errors.TokenErrorCode.DEADLINE_EXCEEDED: TokenHostUnavailableFaultError,
    token_errors.TokenErrorCode.PROTOCOL: TokenHostUnavailableFaultError,
    token_errors.TokenErrorCode.SIGNATURE_MISMATCH: SignatureMismatchFaultError,
    token_errors.TokenErrorCode.MODULE_MISSING: ModuleMissingFaultError,
    token_errors.TokenErrorCode.ELSEWHERE: TokenElsewhereFaultError,
    token_errors.TokenErrorCode.QUARANTINED: TokenQuarantinedFaultError,
}


def translated(error: token_errors.TokenError) -> TokenFaultError:
    """Return the error for people; Cryptoki's code, where there is one, is in its data as `ckr`."""
    kind = _BY_CODE.get(error.code, TokenFaultError)
    technical = str(error)
    detail = Text(f"{kind.title.en}: {technical}.", f"{kind.title.fr} : {technical}.")
    return kind(detail) if error.ckr is None else kind(detail, ckr=error.ckr.cryptoki_name)


@contextmanager
def token_errors_translated() -> Iterator[None]:
    """Turn a `TokenError` raised inside into the `TokenFaultError` that it means."""
    try:
        yield
    except token_errors.TokenError as error:
        raise translated(error) from error
