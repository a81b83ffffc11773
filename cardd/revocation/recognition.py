"""Which PKI of French health a name belongs to: told by the DN of the issuer, whatever certificates are held.

A name proves nothing; a certificate's domain is certain only where its path ends at a certificate held.
DNs are those decoded from IGC-Santé TEST certificates and from one of the retired IGC-CPS.
"""

import re
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import NameOID

from cardd.revocation.domains import Domain

#: From this moment no certificate of IGC-CPS may be relied on (ANS, end of IGC-CPS).
IGC_CPS_END = datetime(2021, 1, 1, tzinfo=UTC)

_ANS_ORGANISATION = "ASIP-SANTE"
_ANS_UNIT = "0002 187512751"
_ANS_PKI = {"IGC-SANTE": Domain.IGC_SANTE, "IGC-SANTE TEST": Domain.IGC_SANTE_TEST}
_CPS_ORGANISATION = re.compile(r"GIP-CPS(-TEST)?")
_CPS_CLASS = re.compile(r"AC-CLASSE-\d+(-TEST)?")


class KnownAuthority(NamedTuple):
    """An authority of ANS that is known by name."""

    code: str
    """Short name, such as `ACI-EL-ORG`."""
    domain: Domain
    common_name: str

    @property
    def subject(self) -> str:
        """Its DN as RFC 4514 writes it."""
        pki = "IGC-SANTE" if self.domain is Domain.IGC_SANTE else "IGC-SANTE TEST"
        return f"CN={self.common_name},OU={pki},OU={_ANS_UNIT},O={_ANS_ORGANISATION},C=FR"


def domain_of_name(name: x509.Name) -> Domain | None:
    """Return the domain of ANS that a DN belongs to; `None` for every other name."""
    country, organisations, units = (
        _values(name, oid)
        for oid in (NameOID.COUNTRY_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME)
    )
    if country != ["FR"] or len(organisations) != 1:
        return None
    if _CPS_ORGANISATION.fullmatch(organisations[0]) and any(map(_CPS_CLASS.fullmatch, units)):
        return Domain.IGC_CPS
    if organisations[0] == _ANS_ORGANISATION and len(units) == 2 and units[0] == _ANS_UNIT:
        return _ANS_PKI.get(units[1])
    return None


def known_authorities(domain: Domain) -> list[KnownAuthority]:
    """Return the nine authorities of IGC-Santé or of its TEST branch, roots first."""
    prefix = "TEST " if domain is Domain.IGC_SANTE_TEST else ""
    tiers = {"EL": "ELEMENTAIRE", "ST": "STANDARD", "FO": "FORT"}
    roots = [
        KnownAuthority(f"ACR-{code}", domain, f"{prefix}AC RACINE IGC-SANTE {word}")
        for code, word in tiers.items()
    ]
    intermediates = [
        KnownAuthority(f"ACI-{code}-{role}", domain, f"{prefix}AC IGC-SANTE {word} {kind}")
        for code, word in tiers.items()
        for role, kind in (("ORG", "ORGANISATIONS"), ("PP", "PERSONNES"))
    ]
    return roots + intermediates


def _values(name: x509.Name, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in name.get_attributes_for_oid(oid)]
