"""Why certificates are revoked (RFC 5280 §5.3.1), in words for people."""

from collections.abc import Mapping
from types import MappingProxyType

from cardd.revocation.types import Reason
from cardd.text import Text

REASON_WORDS: Mapping[Reason, Text] = MappingProxyType(
    {
        Reason.UNSPECIFIED: Text("no reason given", "motif non précisé"),
        Reason.KEY_COMPROMISE: Text("key compromised", "clé compromise"),
        Reason.CA_COMPROMISE: Text("CA compromised", "AC compromise"),
        Reason.AFFILIATION_CHANGED: Text("affiliation changed", "changement de rattachement"),
        Reason.SUPERSEDED: Text("superseded", "remplacé"),
        Reason.CESSATION_OF_OPERATION: Text("operation ceased", "cessation d’activité"),
        Reason.CERTIFICATE_HOLD: Text("on hold", "suspendu"),
        Reason.REMOVE_FROM_CRL: Text("to be removed from the list", "à retirer de la liste"),
        Reason.PRIVILEGE_WITHDRAWN: Text("privilege withdrawn", "droit retiré"),
        Reason.AA_COMPROMISE: Text("attribute authority compromised", "autorité d’attributs compromise"),
    }
)
