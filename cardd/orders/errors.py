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
