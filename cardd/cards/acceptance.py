"""Which cards in readers may be used: test cards only, and only those of this test PKI to order.

This is asked before a PIN is. That a card is what its certificate says is proved afterwards, by its signature.
"""

from collections.abc import Mapping

from cryptography import x509

from cardd.cards.errors import CardNotAcceptedError
from cardd.cards.records import CardRecord
from cardd.cards.types import CardEnvironment, CardRole, SessionPurpose
from cardd.igc.authority import Authority
from cardd.igc.names import CaName


def check_not_production(card: CardRecord) -> None:
    """Refuse a real professional's card.

    Raises:
        CardNotAcceptedError
    """
    if card.environment is CardEnvironment.PRODUCTION:
        raise CardNotAcceptedError.production(card.serial, _issuer(card))


def check_accepted(
    card: CardRecord, purpose: SessionPurpose, authorities: Mapping[CaName, Authority]
) -> None:
    """Refuse a card that is not what a session is for.

    Raises:
        CardNotAcceptedError
    """
    check_not_production(card)
    if card.access is None or not card.access.counts_tries:
        return
    if purpose is SessionPurpose.USE and card.environment is CardEnvironment.TEST:
        return
    if not _is_ours(card, authorities):
        raise CardNotAcceptedError.of_another_pki(card.serial, _issuer(card), card.environment.value)


def _is_ours(card: CardRecord, authorities: Mapping[CaName, Authority]) -> bool:
    key = card.key(CardRole.AUTHENTICATION)
    if key is None:
        return False
    issuer = x509.load_der_x509_certificate(key.der).issuer
    return any(authority.certificate.subject == issuer for authority in authorities.values())


def _issuer(card: CardRecord) -> str:
    return card.keys[0].issuer if card.keys else "?"
