"""The words for states, reasons and steps that the pages show; codes never reach a person."""

from cardd.cards.types import CardRole, CardType
from cardd.orders.types import CertificateState, HabilitationState, OrderState, RevocationReason
from cardd.revocation.types import Freshness
from cardd.text import Text

#: The shape that stands beside the words of a state, so that colour is never alone.
SHAPES = {
    CertificateState.ACTIVE.value: "ok",
    CertificateState.RENEWABLE.value: "warn",
    CertificateState.EXPIRED.value: "off",
    CertificateState.REVOKED.value: "bad",
    OrderState.TO_RETRIEVE.value: "wait",
    OrderState.RETRIEVED.value: "ok",
    OrderState.CANCELLED.value: "off",
    HabilitationState.SUBMITTED.value: "wait",
    HabilitationState.APPROVED.value: "ok",
    HabilitationState.REFUSED.value: "bad",
    HabilitationState.WITHDRAWN.value: "off",
}

STATES = {
    CertificateState.ACTIVE.value: Text("Active", "Actif"),
    CertificateState.RENEWABLE.value: Text("To renew", "À renouveler"),
    CertificateState.EXPIRED.value: Text("Expired", "Expiré"),
    CertificateState.REVOKED.value: Text("Revoked", "Révoqué"),
    OrderState.TO_RETRIEVE.value: Text("To retrieve", "À retirer"),
    OrderState.RETRIEVED.value: Text("Retrieved", "Retirée"),
    OrderState.CANCELLED.value: Text("Cancelled", "Annulée"),
    HabilitationState.SUBMITTED.value: Text("Submitted", "Déposée"),
    HabilitationState.APPROVED.value: Text("Approved", "Approuvée"),
    HabilitationState.REFUSED.value: Text("Refused", "Refusée"),
    HabilitationState.WITHDRAWN.value: Text("Withdrawn", "Retirée"),
}

REASONS = {
    RevocationReason.KEY_COMPROMISE: Text(
        "Loss, theft or compromise of the key", "Perte, vol ou compromission de la clé"
    ),
    RevocationReason.CESSATION_OF_OPERATION: Text("End of activity", "Cessation d’activité"),
    RevocationReason.AFFILIATION_CHANGED: Text(
        "A datum in the certificate changed", "Changement d’une donnée du certificat"
    ),
    RevocationReason.SUPERSEDED: Text("Replaced by another certificate", "Remplacé par un autre certificat"),
    RevocationReason.UNSPECIFIED: Text("No reason given", "Sans motif"),
}

CUSTODY = {
    "software": Text(
        "Software token: whoever is root on this machine can copy the key.",
        "Jeton logiciel : qui est root sur cette machine peut copier la clé.",
    ),
    "machine-bound": Text(
        "Bound to this machine: the token is sealed to it.",
        "Liée à cette machine : le jeton y est scellé.",
    ),
    "hardware": Text(
        "Hardware: the key does not leave its chip.", "Matériel : la clé ne quitte pas sa puce."
    ),
}
CUSTODY_ELSEWHERE = Text(
    "Held by whoever made the request (CSR).", "Détenue par l’auteur de la demande (CSR)."
)

MEDIA = {
    "softhsm": Text("Software token", "Jeton logiciel"),
    "virtual": Text("Virtual card in a reader", "Carte virtuelle dans un lecteur"),
}
MEDIA_HELP = {
    "softhsm": Text(
        "Simplest, and needs nothing: a SoftHSM token that stands for the card.",
        "Le plus simple, sans rien d’autre : un jeton SoftHSM tient lieu de carte.",
    ),
    "virtual": Text(
        "A CPS3 that card drivers take for a real one; needs pcscd and vpcd on this machine.",
        "Une CPS3 que les pilotes prennent pour une vraie ; pcscd et vpcd sont nécessaires sur cette machine.",
    ),
}
CARD_TYPES = {
    CardType.CPS.value: Text("CPS – health professional", "CPS – professionnel de santé"),
    CardType.CPE.value: Text("CPE – employee of a structure", "CPE – personnel d’une structure"),
    CardType.CPA.value: Text("CPA – authorised person", "CPA – personne autorisée"),
}
CARD_ROLES = {
    CardRole.AUTHENTICATION: Text("Authentication", "Authentification"),
    CardRole.SIGNATURE: Text("Signature", "Signature"),
    CardRole.TECHNICAL: Text("Technical (contactless)", "Technique (sans contact)"),
}

STEPS = {
    "order.created": Text("Order placed", "Commande passée"),
    "order.retrieved": Text("Order retrieved", "Commande retirée"),
    "order.cancelled": Text("Order cancelled", "Commande annulée"),
    "order.expired": Text("Order expired", "Commande expirée"),
    "certificate.issued": Text("Certificate issued", "Certificat émis"),
    "certificate.revoked": Text("Certificate revoked", "Certificat révoqué"),
    "certificate.expiring": Text("Notice of expiry", "Avis d’expiration"),
    "certificate.code_refused": Text("Revocation code refused", "Code de révocation refusé"),
    "notice.sent": Text("Notice sent", "Avis envoyé"),
    "notice.failed": Text("Notice not delivered", "Avis non remis"),
    "key.created": Text("Key made on the token", "Clé fabriquée sur le jeton"),
    "key.destroyed": Text("Key destroyed", "Clé détruite"),
    "habilitation.submitted": Text("Form F414 submitted", "Formulaire F414 déposé"),
    "habilitation.approved": Text("Habilitation approved", "Habilitation approuvée"),
    "habilitation.refused": Text("Habilitation refused", "Habilitation refusée"),
    "habilitation.withdrawn": Text("Habilitation withdrawn", "Habilitation retirée"),
    "habilitation.card_added": Text("Card added", "Carte ajoutée"),
    "card.created": Text("Card made", "Carte créée"),
    "card.inserted": Text("Card inserted", "Carte insérée"),
    "card.removed": Text("Card removed", "Carte retirée du lecteur"),
    "card.opposed": Text("Card opposed", "Carte opposée"),
    "card.session_opened": Text("Card session opened", "Session de carte ouverte"),
    "card.session_closed": Text("Card session closed", "Session de carte fermée"),
    "card.pin_presented": Text("PIN presented", "Code porteur présenté"),
    "card.pin_incorrect": Text("Wrong PIN", "Code porteur faux"),
    "card.pin_changed": Text("PIN changed", "Code porteur changé"),
    "order.possession_proven": Text("The key has signed: it is held", "La clé a signé : elle est détenue"),
    "order.possession_nonce": Text("New challenge for the key", "Nouveau défi pour la clé"),
    "key.blocked": Text("Key blocked as compromised", "Clé bloquée, car compromise"),
    "key.finding": Text("Finding about a key", "Constat sur une clé"),
    "key.copy_noticed": Text("Copy of a token noticed", "Copie d’un jeton décelée"),
    "keys.swept": Text("Keys checked", "Clés vérifiées"),
    "card.pin_not_tried": Text(
        "PIN not tried: its try is given back", "Code porteur non essayé : essai rendu"
    ),
    "card.puk_locked": Text("PUK blocked", "PUK bloqué"),
    "card.pin_verified": Text("PIN right", "Code porteur juste"),
    "card.pin_unblocked": Text("PIN unblocked", "Code porteur débloqué"),
    "card.puk_presented": Text("PUK presented", "PUK présenté"),
    "card.puk_incorrect": Text("Wrong PUK", "PUK faux"),
    "card.faults_set": Text("Faults of a virtual card set", "Pannes d’une carte virtuelle réglées"),
    "card.read": Text("Card read", "Carte lue"),
    "crl.add": Text("CRL kept from now on", "LCR désormais tenue"),
    "crl.remove": Text("CRL no longer kept", "LCR qui n’est plus tenue"),
    "token.pin_exported": Text("Token's PIN exported", "Code d’un jeton exporté"),
    "token.pin_withdrawn": Text("Token's PIN taken back", "Code d’un jeton repris"),
    "token.quarantined": Text("Token in quarantine", "Jeton mis en quarantaine"),
    "token.quarantine_decided": Text("Quarantine decided", "Quarantaine tranchée"),
    "token.retired": Text("Token retired", "Jeton mis hors service"),
    "pairing.requested": Text("Application asked to be let in", "Application demandeuse"),
    "pairing.allowed": Text("Application let in", "Application admise"),
    "pairing.denied": Text("Application turned away", "Application refusée"),
    "pairing.ended": Text("Pairing over", "Appairage terminé"),
    "pairing.code_refused": Text("Pairing code refused", "Code d’appairage refusé"),
    "application.token_fetched": Text("Application fetched its token", "Jeton remis à l’application"),
    "application.renamed": Text("Application renamed", "Application renommée"),
    "application.revoked": Text("Application revoked", "Application révoquée"),
    "application.expired": Text("Application expired", "Application expirée"),
    "consent.asked": Text("Holder asked for consent", "Accord demandé au porteur"),
    "consent.granted": Text("Holder agreed", "Accord du porteur"),
    "consent.denied": Text("Holder refused", "Refus du porteur"),
    "consent.ended": Text("Holder did not answer", "Porteur sans réponse"),
    "owner.token_rotated": Text("Owner's token replaced", "Jeton du propriétaire remplacé"),
    "tls.certificate_made": Text("Certificate for TLS made", "Certificat TLS fabriqué"),
    "crl.publish": Text("CRL published", "LCR publiée"),
    "guard.refuse": Text("Call refused", "Appel refusé"),
    "token.created": Text("Token made", "Jeton créé"),
    "ca.key": Text("CA key made", "Clé d’AC fabriquée"),
    "ca.certify": Text("CA certified", "AC certifiée"),
    "ca.reissue": Text("CA certified again", "AC certifiée de nouveau"),
    "certificate.signed_for_machine": Text("Signed for another machine", "Signé pour une autre machine"),
    "machine.announced": Text("Machine announced itself", "Machine annoncée"),
    "token.level_changed": Text("Token's level of custody changed", "Niveau de garde d’un jeton changé"),
    "token_module.chosen": Text("Module chosen for the keys", "Module choisi pour les clés"),
    "key.made_ready": Text("Key made ready", "Clé préparée d’avance"),
    "crl.policy.put": Text("Freshness policy stored", "Règle de fraîcheur enregistrée"),
    "crl.policy.remove": Text("Freshness policy removed", "Règle de fraîcheur supprimée"),
    "alert.raised": Text("Alert raised", "Alerte levée"),
    "alert.cleared": Text("Alert over", "Alerte terminée"),
    "outgoing.given_up": Text("Delivery given up", "Envoi abandonné"),
    "backup.made": Text("Backup made", "Sauvegarde faite"),
    "backup.deleted": Text("Backup removed", "Sauvegarde supprimée"),
    "state.restored": Text("State restored from a backup", "État restauré d’une sauvegarde"),
    "retention.pruned": Text("Old records removed", "Anciens enregistrements supprimés"),
    "settings.reloaded": Text("Settings read again", "Réglages relus"),
    "responder.certify": Text("OCSP responder certified", "Répondeur OCSP certifié"),
}

FRESHNESS_SHAPES = {
    Freshness.FRESH.value: "ok",
    Freshness.STALE.value: "warn",
    Freshness.EXPIRED.value: "bad",
    Freshness.UNAVAILABLE.value: "off",
}
FRESHNESS = {
    Freshness.FRESH.value: Text("Fresh", "Fraîche"),
    Freshness.STALE.value: Text("Renewal overdue", "Renouvellement en retard"),
    Freshness.EXPIRED.value: Text("Out of date", "Périmée"),
    Freshness.UNAVAILABLE.value: Text("Not held yet", "Pas encore détenue"),
}

#: What an application wants to do with a key of a card, and which key.
KEY_USES = {
    "sign": Text("to sign", "signer"),
    "authenticate": Text("to prove who you are", "prouver qui vous êtes"),
    "decrypt": Text("to decrypt", "déchiffrer"),
}
CARD_KEYS = {
    "authentication": Text("authentication key", "clé d’authentification"),
    "signature": Text("signature key", "clé de signature"),
    "technical": Text("technical key", "clé technique"),
}

#: Parts of the daemon, and what tokens are for.
PARTS = {
    "store": Text("Database", "Base de données"),
    "token_hosts": Text("Token hosts", "Hôtes de jetons"),
    "upkeep": Text("Upkeep", "Tâches d’entretien"),
    "readers": Text("Readers", "Lecteurs"),
    "card_modules": Text("Card drivers", "Pilotes de cartes"),
    "keys": Text("Keys", "Clés"),
    "pki": Text("the PKI", "l’IGC"),
    "structure": Text("a structure", "une structure"),
    "card": Text("a test card", "une carte de test"),
}


def actor_words(actor: str) -> Text:
    """Return who acted, in words: `owner`, `daemon`, `card:<serial>`, `anonymous`."""
    kind, _, name = actor.partition(":")
    match kind:
        case "card":
            return Text(f"card {name}", f"carte {name}")
        case "application":
            return Text(f"application {name}", f"application {name}")
        case "owner":
            return Text("the owner", "le propriétaire")
        case "daemon":
            return Text("the daemon", "le démon")
        case "anonymous":
            return Text("unknown caller", "appelant inconnu")
        case _:
            return Text(actor, actor)
