"""What an operator may decide about the test PKI: its DN, its addresses, its lifetimes."""

from datetime import timedelta
from enum import StrEnum
from urllib.parse import quote, urlsplit

import msgspec

from cardd.igc.errors import PolicyError
from cardd.igc.names import CaName
from cardd.text import Text

#: The arc of ANS's own certificate policies; nothing of ours may lie under it.
_ANS_POLICY_ARC = "1.2.250.1.213."
#: Arcs from here on are more than common parsers read.
_LARGEST_ARC = 2**32
_SECOND_ARC_END = 40
_FEWEST_ARCS = 3
#: What names ANS in the DNs of its CAs; ours must differ in `O` and in both `OU`.
_ANS_DN_VALUES = frozenset({"ASIP-SANTE", "ANS", "0002 187512751", "IGC-SANTE", "IGC-SANTE TEST"})


class CaKeyAlgorithm(StrEnum):
    """Algorithms of the keys of CAs; the real ones are RSA 4096."""

    RSA_4096 = "rsa_4096"
    RSA_2048 = "rsa_2048"
    EC_P256 = "ec_p256"


class PkiPolicy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The policy of one test PKI; raises `PolicyError` when it could pass for ANS's PKI."""

    base_urls: tuple[str, ...]
    """Where lists, certificates and OCSP are published, without a final slash, by preference. Each makes one
    CRL distribution point; the first alone serves the delta, OCSP, CA certificates and the policy page."""

    country: str = "FR"
    """`C` of every CA and of every subject, two letters."""

    organisation: str = "CARDD"
    """`O` of every CA."""

    organisational_units: tuple[str, str] = ("0002 000000000", "IGC LOCALE DE TEST")
    """Both `OU` of every CA: the ISO 6523 identifier of no one, then the PKI's name."""

    policy_oid: str = "1.3.6.1.4.1.32473.1.1"
    """Certificate policy of leaf certificates. Its default lies under the enterprise number that IANA keeps
    for documentation (RFC 5612), so that it is nobody's policy. The other arcs anybody may use, 2.25 for
    UUIDs and 2.999 for examples, are more than common parsers read, pkilint's among them."""

    ca_algorithm: CaKeyAlgorithm = CaKeyAlgorithm.RSA_4096
    """Algorithm of the keys of CAs."""

    validity_years: int = 3
    """Validity of leaf certificates, in years to the second."""

    root_validity_years: int = 20
    """Validity of roots, in years from midnight; an intermediate ends one day before its root."""

    crl_validity: timedelta = timedelta(days=7)
    """From thisUpdate to nextUpdate of a complete list."""

    crl_refresh_before: timedelta = timedelta(days=3)
    """A complete list is replaced this long before its nextUpdate."""

    delta_validity: timedelta = timedelta(days=1)
    """From thisUpdate to nextUpdate of a delta list."""

    delta_refresh_before: timedelta = timedelta(hours=6)
    """A delta list is replaced this long before its nextUpdate."""

    ocsp_validity: timedelta = timedelta(hours=1)
    """From thisUpdate to nextUpdate of an OCSP response."""

    ocsp_responder_validity: timedelta = timedelta(days=90)
    """Validity of OCSP responder certificates; short, since they are never checked for revocation
    (RFC 6960 §4.2.2.2.1)."""

    upn_suffix: str = "carte-cps.fr"
    """Domain of the user principal name in authentication certificates of cards."""

    def __post_init__(self) -> None:
        """Refuse a policy that could be taken for ANS's, or that no certificate can carry."""
        if f"{self.policy_oid}.".startswith(_ANS_POLICY_ARC):
            raise _refused("policy_oid", "lies under the arc of ANS", "se trouve sous l’arc de l’ANS")
        if not _is_readable_oid(self.policy_oid):
            raise _refused(
                "policy_oid",
                "is not an OID that common parsers read: arcs below 2^32, and below 40 after the first",
                "n’est pas un OID que lisent les analyseurs courants : arcs sous 2^32, et sous 40 après le premier",
            )
        for value in (self.organisation, *self.organisational_units):
            if value.strip().upper() in _ANS_DN_VALUES:
                raise _refused(value, "names the real IGC-Santé", "désigne la véritable IGC-Santé")
        if not self.base_urls or not all(map(_is_base_url, self.base_urls)):
            raise _refused(
                "base_urls",
                "needs absolute URLs, without a final slash, whose host has a domain, is an address or `localhost`",
                "exige des URL absolues, sans barre finale, dont l’hôte a un domaine, est une adresse ou `localhost`",
            )
        if self.crl_refresh_before >= self.crl_validity or self.delta_refresh_before >= self.delta_validity:
            raise _refused(
                "crl_refresh_before, delta_refresh_before",
                "must be shorter than the list’s validity",
                "doit être plus court que la validité de la liste",
            )

    def crl_urls(self, authority: CaName) -> tuple[str, ...]:
        """Return where the complete list of `authority` is published, by preference."""
        return tuple(f"{base}/CRL/{quote(authority)}.crl" for base in self.base_urls)

    def delta_url(self, authority: CaName) -> str:
        """Return where the delta list of `authority` is published."""
        return f"{self.base_urls[0]}/CRL/{quote(authority)}-delta.crl"

    def certificate_url(self, authority: CaName) -> str:
        """Return where the certificate of `authority` is published (DER)."""
        return f"{self.base_urls[0]}/AC/{quote(authority)}.cer"

    @property
    def ocsp_url(self) -> str:
        """Where the OCSP responder answers."""
        return f"{self.base_urls[0]}/ocsp"

    @property
    def cps_uri(self) -> str:
        """Where the certificate policy can be read."""
        return f"{self.base_urls[0]}/PC"


def _is_base_url(url: str) -> bool:
    """Tell whether certificates may point below `url` (RFC 5280 §4.2.1.6: a fully qualified host or an address)."""
    host = urlsplit(url).hostname or ""
    return not url.endswith("/") and (host == "localhost" or "." in host or ":" in host)


def _is_readable_oid(oid: str) -> bool:
    """Tell whether `oid` is dotted decimal within what parsers with 32-bit arcs and a one-byte start read."""
    arcs = oid.split(".")
    if len(arcs) < _FEWEST_ARCS or not all(arc.isascii() and arc.isdecimal() for arc in arcs):
        return False
    first, second, *_ = numbers = [int(arc) for arc in arcs]
    return first <= 2 and second < _SECOND_ARC_END and max(numbers) < _LARGEST_ARC


def _refused(setting: str, english: str, french: str) -> PolicyError:
    return PolicyError(Text(f"“{setting}” {english}.", f"« {setting} » {french}."))
