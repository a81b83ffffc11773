"""What orders, habilitations, certificates and their codes refuse, and why."""

from cardd.errors import CarddError, ConflictError
from cardd.text import Text


class NotAuthorisedError(CarddError):
    """The card's habilitations do not cover the structure, the offer and the usage."""

    code = "not_authorised"
    status = 403
    title = Text("This card is not authorised for it", "Cette carte n’y est pas habilitée")
    default_advice = Text(
        "Have a habilitation approved that covers this structure, offer and usage, or use another card.",
        "Faites approuver une habilitation couvrant cette structure, cette offre et cet usage, ou changez de carte.",
    )


class OrderEndedError(ConflictError):
    """The order is no longer to be retrieved."""

    default_advice = Text("Place a new order.", "Passez une nouvelle commande.")


class AlreadyRetrievedError(OrderEndedError):
    """The order was retrieved: its certificate exists (`certificate`)."""

    code = "already_retrieved"
    title = Text("This order was already retrieved", "Cette commande a déjà été retirée")
    default_advice = Text(
        "Download the certificate that it gave; a new one needs a new order.",
        "Téléchargez le certificat obtenu ; un nouveau certificat demande une nouvelle commande.",
    )


class OrderCancelledError(OrderEndedError):
    """The order was cancelled and its key destroyed."""

    code = "order_cancelled"
    title = Text("This order was cancelled", "Cette commande a été annulée")


class OrderExpiredError(OrderEndedError):
    """The order was not retrieved in time and its key is destroyed."""

    code = "order_expired"
    title = Text("This order has expired", "Cette commande a expiré")


class PossessionUnprovenError(ConflictError):
    """The key that a CSR brought has not signed the order's nonce (`order`)."""

    code = "possession_unproven"
    title = Text("Possession of the key is not proven", "La possession de la clé n’est pas prouvée")
    default_advice = Text(
        "Sign the order’s `possession.to_sign` with the key: `cardd key prove ORDER --key FILE`, or OpenSSL.",
        "Signez `possession.to_sign` avec la clé : `cardd key prove ORDER --key FILE`, ou OpenSSL.",
    )


class PossessionProvenError(ConflictError):
    """The order's key has proven itself; a nonce is signed once (`order`)."""

    code = "possession_proven"
    title = Text("Possession of the key is proven already", "La possession de la clé est déjà prouvée")
    default_advice = Text("Retrieve the order.", "Retirez la commande.")


class PossessionExpiredError(ConflictError):
    """The nonce was not signed in time."""

    code = "possession_nonce_expired"
    title = Text("The nonce to sign has expired", "Le défi à signer a expiré")
    default_advice = Text(
        "Ask for a new one with POST /orders/{id}/possession/nonce; `cardd key prove ORDER --key FILE` does by itself.",
        "Demandez-en un autre par POST /orders/{id}/possession/nonce ; `cardd key prove ORDER --key FILE` le fait.",
    )


class PossessionSignatureInvalidError(CarddError):
    """The signature is not the CSR's key's, or not over this order's present message (`to_sign`)."""

    code = "possession_signature_invalid"
    status = 422
    title = Text("The signature does not prove the key", "La signature ne prouve pas la clé")
    default_advice = Text(
        "Sign the bytes of `to_sign` (decoded from base64) with SHA-256: RSA PKCS#1 v1.5 or PSS, or ECDSA in DER.",
        "Signez les octets de `to_sign` (décodés du base64) avec SHA-256 : RSA PKCS#1 v1.5 ou PSS, ou ECDSA en DER.",
    )


class AuthorityKeyError(ConflictError):
    """The key is a CA's or a responder's (`holder`), whose loss ends the PKI rather than a certificate."""

    code = "authority_key"
    title = Text("This key belongs to the PKI itself", "Cette clé est celle de l’IGC elle-même")
    default_advice = Text(
        "Start a new test PKI in an empty state directory, and give up this one.",
        "Démarrez une nouvelle IGC de test dans un répertoire d’état vide, et abandonnez celle-ci.",
    )


class PrivateKeyStaysError(CarddError):
    """A PKCS#12 file was asked for; private keys never leave their token."""

    code = "private_key_stays"
    status = 406
    title = Text(
        "There is no PKCS#12: private keys stay on their token",
        "Pas de PKCS#12 : les clés privées restent sur leur jeton",
    )
    default_advice = Text(
        "Use the key where it is, by the certificate’s `pkcs11_uri` (OpenSSL, curl, Java, nginx, Firefox: "
        "docs/keys-from-programs.md), and download the certificate as PEM, DER or chain.",
        "Utilisez la clé là où elle est, par le `pkcs11_uri` du certificat (OpenSSL, curl, Java, nginx, Firefox : "
        "docs/keys-from-programs.md), et téléchargez le certificat en PEM, DER ou chaîne.",
    )

    @classmethod
    def of_certificate(cls) -> "PrivateKeyStaysError":
        """Make the error for a certificate whose private key was asked for with it."""
        return cls(
            Text(
                "A PKCS#12 file would hold a copy of the private key, and no copy of it can be made.",
                "Un fichier PKCS#12 contiendrait une copie de la clé privée, et aucune copie ne peut en être faite.",
            )
        )


class NotActiveError(ConflictError):
    """The certificate cannot be renewed: it has ended, was revoked, or belongs to a card."""

    code = "not_active"
    title = Text("This certificate cannot be renewed", "Ce certificat ne peut pas être renouvelé")
    default_advice = Text("Place a new order.", "Passez une nouvelle commande.")


class AlreadyRevokedError(ConflictError):
    """The certificate is revoked, which is definitive (`revoked_at`, `revocation_reason`)."""

    code = "already_revoked"
    title = Text("This certificate is already revoked", "Ce certificat est déjà révoqué")
    default_advice = Text("There is nothing left to do.", "Il n’y a plus rien à faire.")


class CertificateExpiredError(ConflictError):
    """The certificate has ended, so there is nothing to revoke."""

    code = "certificate_expired"
    title = Text("This certificate has expired", "Ce certificat a expiré")
    default_advice = Text(
        "An expired certificate need not be revoked.", "Un certificat expiré n’a pas à être révoqué."
    )


class RevocationCodeRequiredError(CarddError):
    """The caller is neither the owner nor an authorised card, and gave no revocation code."""

    code = "revocation_code_required"
    status = 403
    title = Text("The revocation code is needed", "Le code de révocation est nécessaire")
    default_advice = Text(
        "Give the code chosen at retrieval, or open a session with an authorised card.",
        "Donnez le code choisi au retrait, ou ouvrez une session avec une carte habilitée.",
    )


class RevocationCodeIncorrectError(CarddError):
    """The revocation code is not the certificate's; `tries_left` before it is locked for a while."""

    code = "revocation_code_incorrect"
    status = 403
    title = Text("The revocation code is not right", "Le code de révocation est incorrect")
    default_advice = Text(
        "Check the code chosen at retrieval; without it, the owner or an authorised card can revoke.",
        "Vérifiez le code choisi au retrait ; à défaut, le propriétaire ou une carte habilitée peut révoquer.",
    )


class RevocationCodeLockedError(CarddError):
    """Too many wrong codes; the next is taken after `retry_after` seconds."""

    code = "revocation_code_locked"
    status = 429
    title = Text("Too many wrong revocation codes", "Trop de codes de révocation erronés")
    default_advice = Text(
        "Wait, or have the owner or an authorised card revoke.",
        "Patientez, ou faites révoquer par le propriétaire ou une carte habilitée.",
    )


class HabilitationDecidedError(ConflictError):
    """The habilitation is not in the state that the step starts from (`state`)."""

    code = "habilitation_state"
    title = Text("The habilitation is past this step", "L’habilitation n’en est plus à cette étape")
    default_advice = Text("Submit a new habilitation.", "Déposez une nouvelle demande d’habilitation.")


class HabilitationNotApprovedError(ConflictError):
    """Only an approved habilitation authorises cards (`state`)."""

    code = "habilitation_not_approved"
    title = Text("The habilitation is not approved", "L’habilitation n’est pas approuvée")
    default_advice = Text(
        "Approve it first, or name another habilitation.",
        "Approuvez-la d’abord, ou indiquez une autre habilitation.",
    )
