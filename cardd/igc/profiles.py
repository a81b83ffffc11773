"""Every certificate profile (gabarit) of the test PKI, as frozen data.

Facts are decoded from IGC-Santé TEST certificates; those marked `inferred` follow by symmetry, since no
certificate of the kind is published (ANS, arrêté du 4 avril 2022, names the offers and their usages).
"""

from collections.abc import Mapping
from enum import Enum, IntEnum, StrEnum
from types import MappingProxyType

import msgspec
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from cardd.custody.policy import KeyUse
from cardd.igc.names import CaName, OrganisationSubject, PersonSubject, StructurePersonSubject, Subject
from cardd.vocabulary import Usage
from cardd_pkcs11.types import KeyAlgorithm


class Offer(StrEnum):
    """What a certificate designates."""

    ORG = "ORG"
    SERV = "SERV"
    PRO = "PRO"
    PS = "PS"
    CPS = "CPS"
    CPE = "CPE"
    CPA = "CPA"


class KeyUsageBit(Enum):
    """Bits of keyUsage (RFC 5280 §4.2.1.3); the value is the argument's name in `cryptography`."""

    DIGITAL_SIGNATURE = "digital_signature"
    NON_REPUDIATION = "content_commitment"
    KEY_ENCIPHERMENT = "key_encipherment"
    DATA_ENCIPHERMENT = "data_encipherment"
    KEY_CERT_SIGN = "key_cert_sign"
    CRL_SIGN = "crl_sign"


class SanKind(Enum):
    """What subjectAltName holds (RFC 5280 §4.2.1.6)."""

    NONE = "none"
    DNS_NAMES = "dNSName, the CN first"
    EMAIL = "rfc822Name, equal to the CN"
    UPN = "otherName: Microsoft user principal name"


class CardType(IntEnum):
    """Private extension 2."""

    CPS = 0
    CPF = 1
    CPE = 2
    CPA = 3


class KeyMedium(IntEnum):
    """Private extension 5 of a TEST certificate: where the private key is."""

    CARD = 0x80
    SECURITY_MODULE = 0x82
    SOFTWARE = 0x83


PRIVATE_CARD_TYPE = x509.ObjectIdentifier("1.2.250.1.71.1.2.2")
PRIVATE_CARD_SERIAL = x509.ObjectIdentifier("1.2.250.1.71.1.2.3")
PRIVATE_KEY_MEDIUM = x509.ObjectIdentifier("1.2.250.1.71.1.2.5")
PRIVATE_PROFESSION = x509.ObjectIdentifier("1.2.250.1.71.1.2.7")
UPN = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")

_BC, _SKI, _AKI = (
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
)
_KU, _EKU, _CP = ExtensionOID.KEY_USAGE, ExtensionOID.EXTENDED_KEY_USAGE, ExtensionOID.CERTIFICATE_POLICIES
_SAN, _PKUP = ExtensionOID.SUBJECT_ALTERNATIVE_NAME, ExtensionOID.PRIVATE_KEY_USAGE_PERIOD
_CRLDP, _FRESHEST, _AIA = (
    ExtensionOID.CRL_DISTRIBUTION_POINTS,
    ExtensionOID.FRESHEST_CRL,
    ExtensionOID.AUTHORITY_INFORMATION_ACCESS,
)

#: Order on the wire of software certificates since 2025 (decoded); the place of SAN and of .7 is inferred.
ORDER_2025 = (
    _EKU, _AKI, _AIA, _CP, _PKUP, _SAN, _CRLDP, _SKI, _FRESHEST, _KU, PRIVATE_KEY_MEDIUM, PRIVATE_PROFESSION, _BC,
)  # fmt: skip
#: Order on the wire before 2025, and on cards (decoded).
ORDER_CARDS = (
    _BC, _SKI, _AKI, _KU, _CP, _EKU, _SAN, _PKUP, _CRLDP, _FRESHEST, _AIA,
    PRIVATE_KEY_MEDIUM, PRIVATE_CARD_TYPE, PRIVATE_CARD_SERIAL, PRIVATE_PROFESSION,
)  # fmt: skip
#: Order on the wire of CA certificates (decoded).
ORDER_AUTHORITIES = (_BC, _KU, _CP, _CRLDP, _SKI, _AKI)
#: Order on the wire of OCSP responder certificates (inferred).
ORDER_RESPONDERS = (_EKU, _AKI, _CP, _SKI, ExtensionOID.OCSP_NO_CHECK, _KU, _BC)

_RSA_ONLY = frozenset({KeyAlgorithm.RSA_2048, KeyAlgorithm.RSA_3072, KeyAlgorithm.RSA_4096})
_CARD_KEYS = frozenset({KeyAlgorithm.RSA_2048})
_ANY_KEY = frozenset(KeyAlgorithm)


class ProfileName(StrEnum):
    """The leaf profiles: offer and usage."""

    ORG_AUTH_CLI = "ORG-AUTH_CLI"
    ORG_SIGN = "ORG-SIGN"
    ORG_CONF = "ORG-CONF"
    SERV_SSL_SERV = "SERV-SSL_SERV"
    SERV_SMIME = "SERV-SMIME"
    SERV_SIGN = "SERV-SIGN"
    SERV_CONF = "SERV-CONF"
    PRO_AUTH_CLI = "PRO-AUTH_CLI"
    PRO_SIGN = "PRO-SIGN"
    PS_AUTH_CLI = "PS-AUTH_CLI"
    PS_SIGN = "PS-SIGN"
    CPS_AUTH_CLI = "CPS-AUTH_CLI"
    CPS_SIGN = "CPS-SIGN"
    CPE_AUTH_CLI = "CPE-AUTH_CLI"
    CPE_SIGN = "CPE-SIGN"
    CPA_AUTH_CLI = "CPA-AUTH_CLI"
    CPA_SIGN = "CPA-SIGN"

    @classmethod
    def of(cls, offer: Offer, usage: Usage) -> "ProfileName":
        """Return the profile of an offer and a usage; `ValueError` when there is none."""
        return cls(f"{offer.value}-{usage.value}")

    @property
    def offer(self) -> Offer:
        """What a certificate of this profile designates."""
        return Offer(self.value.split("-")[0])

    @property
    def usage(self) -> Usage:
        """What its key is for."""
        return Usage(self.value.split("-")[1])


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The template of one offer and usage."""

    issuer: CaName
    """The CA that signs."""
    subject: type[Subject]
    """The kind of subject, hence the shape of the DN (see `names`)."""
    key_usage: tuple[KeyUsageBit, ...]
    """keyUsage, critical."""
    extended_key_usage: tuple[x509.ObjectIdentifier, ...]
    """extKeyUsage, in the order of the wire."""
    subject_alternative_name: SanKind = SanKind.NONE
    private_key_usage_period: bool = False
    """Whether privateKeyUsagePeriod repeats the validity, as signature certificates do."""
    card_type: CardType | None = None
    """Private extensions 2 and 3 are there when this is not None."""
    profession: bool = False
    """Whether private extension 7 is there."""
    order: tuple[x509.ObjectIdentifier, ...] = ORDER_2025
    """The order of extensions on the wire."""
    keys: frozenset[KeyAlgorithm] = _RSA_ONLY
    """The public keys allowed; keyEncipherment and dataEncipherment need RSA (RFC 8813 §3)."""

    @property
    def key_use(self) -> KeyUse:
        """The operations that the profile needs of the key's token."""
        ciphers = KeyUsageBit.KEY_ENCIPHERMENT in self.key_usage
        signs = (
            KeyUsageBit.DIGITAL_SIGNATURE in self.key_usage or KeyUsageBit.NON_REPUDIATION in self.key_usage
        )
        if ciphers:
            return KeyUse.SIGN_AND_DECRYPT if signs else KeyUse.DECRYPT
        return KeyUse.SIGN


_CLIENT, _SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
_EMAIL, _LOGON = ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.SMARTCARD_LOGON
_SIGNS = (KeyUsageBit.DIGITAL_SIGNATURE,)
_COMMITS = (KeyUsageBit.DIGITAL_SIGNATURE, KeyUsageBit.NON_REPUDIATION)
_EXCHANGES = (KeyUsageBit.DIGITAL_SIGNATURE, KeyUsageBit.KEY_ENCIPHERMENT)
_CIPHERS = (KeyUsageBit.KEY_ENCIPHERMENT, KeyUsageBit.DATA_ENCIPHERMENT)


def _organisation(
    usage: tuple[KeyUsageBit, ...],
    purposes: tuple[x509.ObjectIdentifier, ...],
    *,
    san: SanKind = SanKind.NONE,
) -> Profile:
    ciphers = KeyUsageBit.KEY_ENCIPHERMENT in usage
    return Profile(
        issuer=CaName.ACI_EL_ORG,
        subject=OrganisationSubject,
        key_usage=usage,
        extended_key_usage=purposes,
        subject_alternative_name=san,
        private_key_usage_period=usage == _COMMITS,
        keys=_RSA_ONLY if ciphers else _ANY_KEY,
    )


def _person(
    subject: type[Subject], usage: tuple[KeyUsageBit, ...], purpose: x509.ObjectIdentifier
) -> Profile:
    return Profile(
        issuer=CaName.ACI_EL_PP,
        subject=subject,
        key_usage=usage,
        extended_key_usage=(purpose,),
        private_key_usage_period=usage == _COMMITS,
        profession=subject is PersonSubject,
        keys=_ANY_KEY,
    )


def _card_authentication(issuer: CaName, subject: type[Subject], card_type: CardType) -> Profile:
    return Profile(
        issuer=issuer,
        subject=subject,
        key_usage=_SIGNS,
        extended_key_usage=(_CLIENT, _LOGON),
        subject_alternative_name=SanKind.UPN,
        card_type=card_type,
        profession=card_type is CardType.CPS,
        order=ORDER_CARDS,
        keys=_CARD_KEYS,
    )


def _card_signature(issuer: CaName, subject: type[Subject], card_type: CardType) -> Profile:
    return Profile(
        issuer=issuer,
        subject=subject,
        key_usage=(KeyUsageBit.NON_REPUDIATION,),
        extended_key_usage=(_EMAIL,),
        private_key_usage_period=True,
        card_type=card_type,
        profession=card_type is CardType.CPS,
        order=ORDER_CARDS,
        keys=_CARD_KEYS,
    )


PROFILES: Mapping[ProfileName, Profile] = MappingProxyType(
    {
        ProfileName.ORG_AUTH_CLI: _organisation(_SIGNS, (_CLIENT,)),
        ProfileName.ORG_SIGN: _organisation(_COMMITS, (_EMAIL,)),
        ProfileName.ORG_CONF: _organisation(_CIPHERS, (_EMAIL,)),  # inferred
        ProfileName.SERV_SSL_SERV: _organisation(_EXCHANGES, (_SERVER, _CLIENT), san=SanKind.DNS_NAMES),
        ProfileName.SERV_SMIME: _organisation(_EXCHANGES, (_EMAIL,), san=SanKind.EMAIL),  # inferred
        ProfileName.SERV_SIGN: _organisation(_COMMITS, (_EMAIL,), san=SanKind.DNS_NAMES),  # inferred
        ProfileName.SERV_CONF: _organisation(_CIPHERS, (_EMAIL,), san=SanKind.DNS_NAMES),  # inferred
        ProfileName.PRO_AUTH_CLI: _person(StructurePersonSubject, _SIGNS, _CLIENT),  # inferred
        ProfileName.PRO_SIGN: _person(StructurePersonSubject, _COMMITS, _EMAIL),  # inferred
        ProfileName.PS_AUTH_CLI: _person(PersonSubject, _SIGNS, _CLIENT),  # inferred
        ProfileName.PS_SIGN: _person(PersonSubject, _COMMITS, _EMAIL),  # inferred
        ProfileName.CPS_AUTH_CLI: _card_authentication(CaName.ACI_FO_PP, PersonSubject, CardType.CPS),
        ProfileName.CPS_SIGN: _card_signature(CaName.ACI_FO_PP, PersonSubject, CardType.CPS),
        ProfileName.CPE_AUTH_CLI: _card_authentication(
            CaName.ACI_ST_PP, StructurePersonSubject, CardType.CPE
        ),
        ProfileName.CPE_SIGN: _card_signature(
            CaName.ACI_ST_PP, StructurePersonSubject, CardType.CPE
        ),  # inferred
        ProfileName.CPA_AUTH_CLI: _card_authentication(
            CaName.ACI_ST_PP, StructurePersonSubject, CardType.CPA
        ),  # inferred
        ProfileName.CPA_SIGN: _card_signature(
            CaName.ACI_ST_PP, StructurePersonSubject, CardType.CPA
        ),  # inferred
    }
)


class AuthorityProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The template of a CA certificate: keyCertSign and cRLSign, anyPolicy, no EKU, no AIA."""

    path_length: int | None
    """pathLenConstraint of the critical basicConstraints."""
    distribution_points: bool
    """Whether cRLDistributionPoints is there; freshestCRL never is."""
    key_usage: tuple[KeyUsageBit, ...] = (KeyUsageBit.KEY_CERT_SIGN, KeyUsageBit.CRL_SIGN)
    order: tuple[x509.ObjectIdentifier, ...] = ORDER_AUTHORITIES


ROOT_PROFILE = AuthorityProfile(path_length=None, distribution_points=False)
INTERMEDIATE_PROFILE = AuthorityProfile(path_length=0, distribution_points=True)


class ResponderProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The template of a delegated OCSP responder's certificate (RFC 6960 §4.2.2.2), with ocsp-nocheck."""

    key_usage: tuple[KeyUsageBit, ...] = _SIGNS
    extended_key_usage: tuple[x509.ObjectIdentifier, ...] = (ExtendedKeyUsageOID.OCSP_SIGNING,)
    order: tuple[x509.ObjectIdentifier, ...] = ORDER_RESPONDERS


RESPONDER_PROFILE = ResponderProfile()
