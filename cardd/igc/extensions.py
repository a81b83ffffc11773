"""The extensions of each kind of certificate, made from its profile and put in the profile's order."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID

from cardd.igc import der
from cardd.igc.policy import PkiPolicy
from cardd.igc.profiles import (
    PRIVATE_CARD_SERIAL,
    PRIVATE_CARD_TYPE,
    PRIVATE_KEY_MEDIUM,
    PRIVATE_PROFESSION,
    RESPONDER_PROFILE,
    UPN,
    AuthorityProfile,
    KeyMedium,
    KeyUsageBit,
    Profile,
    SanKind,
)
from cardd.igc.signer import SigningPublicKey
from cardd.vocabulary import Profession

#: The policy of CA certificates (RFC 5280 §4.2.1.4).
ANY_POLICY = "2.5.29.32.0"


class Extension(NamedTuple):
    """An extension's value and its criticality."""

    value: x509.ExtensionType
    critical: bool = False


class LeafDetails(NamedTuple):
    """What a leaf's extensions say beyond its profile."""

    public_key: SigningPublicKey
    not_before: datetime
    not_after: datetime
    medium: KeyMedium
    alternative_names: Sequence[x509.GeneralName]
    card_serial: str | None
    profession: Profession | None


def leaf_extensions(
    profile: Profile, policy: PkiPolicy, authority: x509.Certificate, details: LeafDetails
) -> list[Extension]:
    """Return the extensions of a leaf certificate, in the order of its profile."""
    extensions = [
        Extension(x509.BasicConstraints(ca=False, path_length=None)),
        Extension(_key_usage(profile.key_usage), critical=True),
        Extension(x509.ExtendedKeyUsage(profile.extended_key_usage)),
        Extension(_policies(policy.policy_oid, policy)),
        *_key_identifiers(details.public_key, authority),
        Extension(x509.CRLDistributionPoints(_points(policy.crl_urls(profile.issuer)))),
        Extension(x509.FreshestCRL(_points([policy.delta_url(profile.issuer)]))),
        Extension(_access(policy, profile)),
        Extension(_private(PRIVATE_KEY_MEDIUM, der.tlv(der.TAG_OCTET_STRING, bytes([details.medium])))),
    ]
    if profile.subject_alternative_name is not SanKind.NONE:
        extensions.append(Extension(x509.SubjectAlternativeName(details.alternative_names)))
    if profile.private_key_usage_period:
        period = x509.PrivateKeyUsagePeriod(
            details.not_before.replace(tzinfo=None), details.not_after.replace(tzinfo=None)
        )
        extensions.append(Extension(period))
    if profile.card_type is not None:
        extensions.append(Extension(_private(PRIVATE_CARD_TYPE, der.integer(profile.card_type))))
    if details.card_serial is not None:
        serial = der.tlv(der.TAG_PRINTABLE_STRING, details.card_serial.encode("ascii"))
        extensions.append(Extension(_private(PRIVATE_CARD_SERIAL, serial)))
    if details.profession is not None:
        extensions.append(Extension(_private(PRIVATE_PROFESSION, der.integer(details.profession))))
    return _ordered(extensions, profile.order)


def authority_extensions(
    profile: AuthorityProfile,
    policy: PkiPolicy,
    public_key: SigningPublicKey,
    issuer_key: SigningPublicKey,
    crl_urls: Sequence[str],
) -> list[Extension]:
    """Return the extensions of a CA certificate; `crl_urls` are those of its issuer's list."""
    extensions = [
        Extension(x509.BasicConstraints(ca=True, path_length=profile.path_length), critical=True),
        Extension(_key_usage(profile.key_usage), critical=True),
        Extension(_policies(ANY_POLICY, policy)),
        Extension(x509.SubjectKeyIdentifier.from_public_key(public_key)),
        Extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key)),
    ]
    if profile.distribution_points:
        extensions.append(Extension(x509.CRLDistributionPoints(_points(crl_urls))))
    return _ordered(extensions, profile.order)


def responder_extensions(
    policy: PkiPolicy, public_key: SigningPublicKey, authority: x509.Certificate
) -> list[Extension]:
    """Return the extensions of a delegated OCSP responder's certificate (RFC 6960 §4.2.2.2)."""
    extensions = [
        Extension(x509.BasicConstraints(ca=False, path_length=None)),
        Extension(_key_usage(RESPONDER_PROFILE.key_usage), critical=True),
        Extension(x509.ExtendedKeyUsage(RESPONDER_PROFILE.extended_key_usage)),
        Extension(_policies(policy.policy_oid, policy)),
        *_key_identifiers(public_key, authority),
        Extension(x509.OCSPNoCheck()),
    ]
    return _ordered(extensions, RESPONDER_PROFILE.order)


def with_extensions(
    builder: x509.CertificateBuilder, extensions: Iterable[Extension]
) -> x509.CertificateBuilder:
    """Return `builder` with `extensions` added in their order."""
    for extension in extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder


def freshest_crl(url: str) -> x509.FreshestCRL:
    """Return the freshestCRL extension that points to `url`."""
    return x509.FreshestCRL(_points([url]))


def user_principal_name(name: str) -> x509.OtherName:
    """Return the general name that a smart card logon looks for: a UTF8String user principal name."""
    return x509.OtherName(UPN, der.tlv(der.TAG_UTF8_STRING, name.encode()))


def _ordered(extensions: Sequence[Extension], order: Sequence[x509.ObjectIdentifier]) -> list[Extension]:
    return sorted(extensions, key=lambda extension: order.index(extension.value.oid))


def _key_usage(bits: Sequence[KeyUsageBit]) -> x509.KeyUsage:
    names = {bit.value for bit in bits}
    return x509.KeyUsage(
        digital_signature="digital_signature" in names,
        content_commitment="content_commitment" in names,
        key_encipherment="key_encipherment" in names,
        data_encipherment="data_encipherment" in names,
        key_agreement=False,
        key_cert_sign="key_cert_sign" in names,
        crl_sign="crl_sign" in names,
        encipher_only=False,
        decipher_only=False,
    )


def _policies(oid: str, policy: PkiPolicy) -> x509.CertificatePolicies:
    return x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier(oid), [policy.cps_uri])])


def _key_identifiers(public_key: SigningPublicKey, authority: x509.Certificate) -> list[Extension]:
    identifier = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return [
        Extension(x509.SubjectKeyIdentifier.from_public_key(public_key)),
        Extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)),
    ]


def _points(urls: Iterable[str]) -> list[x509.DistributionPoint]:
    """Return one distribution point for each URL, so that any one of them is enough (RFC 5280 §4.2.1.13)."""
    return [x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None) for url in urls]


def _access(policy: PkiPolicy, profile: Profile) -> x509.AuthorityInformationAccess:
    described = [
        (AuthorityInformationAccessOID.OCSP, policy.ocsp_url),
        (AuthorityInformationAccessOID.CA_ISSUERS, policy.certificate_url(profile.issuer)),
    ]
    return x509.AuthorityInformationAccess(
        [x509.AccessDescription(method, x509.UniformResourceIdentifier(url)) for method, url in described]
    )


def _private(oid: x509.ObjectIdentifier, value: bytes) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(oid, value)
