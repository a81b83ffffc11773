"""Who is trusted for what: the CAs held, those known by name only, and those retired, each with the reason.

The test PKIs, this daemon's and IGC-Santé's TEST branch, are one scope; production is another. No bundle ever
mixes the two. Certificates of production, and further ones of TEST, are the operator's to add, as files.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PublicFormat,
    pkcs7,
    pkcs12,
)
from cryptography.x509.oid import NameOID

from cardd.revocation.domains import (
    DOMAIN_NAMES,
    JAVA_PASSWORD,
    Domain,
    TrustedAuthority,
    TrustScope,
    TrustState,
)
from cardd.revocation.facts import loaded_certificate
from cardd.revocation.reading import certificates_in
from cardd.revocation.recognition import domain_of_name, known_authorities
from cardd.text import Text

_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".der", ".p7b"})
_ADDED_DOMAINS = (Domain.IGC_SANTE, Domain.IGC_SANTE_TEST)


SCOPES = {
    TrustScope.TEST: (Domain.LOCAL, Domain.IGC_SANTE_TEST),
    TrustScope.LOCAL: (Domain.LOCAL,),
    TrustScope.IGC_SANTE_TEST: (Domain.IGC_SANTE_TEST,),
    TrustScope.PRODUCTION: (Domain.IGC_SANTE,),
}


class HeldAuthority(NamedTuple):
    """A CA certificate that is held."""

    domain: Domain
    certificate: x509.Certificate

    @property
    def is_root(self) -> bool:
        """Whether it certifies itself."""
        return self.certificate.subject == self.certificate.issuer

    def in_time(self, moment: datetime) -> bool:
        """Whether `moment` lies within its validity."""
        return self.certificate.not_valid_before_utc <= moment <= self.certificate.not_valid_after_utc


class TrustStore:
    """The CA certificates held: the daemon's own, those shipped, and those the operator added as files.

    `directory/igc_sante` and `directory/igc_sante_test` hold the operator's; a file counts only where the
    names in it are those of that PKI.
    """

    def __init__(self, local: Callable[[], Iterable[x509.Certificate]], directory: Path) -> None:
        self._local = local
        self._directory = directory

    def held(self) -> list[HeldAuthority]:
        """Read every CA certificate held; blocking."""
        local = [HeldAuthority(Domain.LOCAL, certificate) for certificate in self._local()]
        shipped = _of_domain(Domain.IGC_SANTE_TEST, _shipped())
        added = [each for domain in _ADDED_DOMAINS for each in _of_domain(domain, self._added(domain))]
        found = {each.certificate.fingerprint(hashes.SHA256()): each for each in local + shipped + added}
        order = list(Domain)
        return sorted(
            found.values(),
            key=lambda each: (
                order.index(each.domain),
                not each.is_root,
                common_name(each.certificate.subject),
            ),
        )

    def authorities(self, moment: datetime) -> list[TrustedAuthority]:
        """Return the whole list as of `moment`: accepted, known by name only, retired; blocking."""
        held = self.held()
        shown = [_held_view(each, moment) for each in held]
        subjects = {each.subject for each in shown}
        missing = [
            _missing_view(known.domain, known.common_name, known.subject)
            for domain in (Domain.IGC_SANTE_TEST, Domain.IGC_SANTE)
            for known in known_authorities(domain)
            if known.subject not in subjects
        ]
        return [*shown, *missing, _retired_view()]

    def bundle(self, scope: TrustScope, moment: datetime) -> list[x509.Certificate]:
        """Return the certificates accepted in a scope, roots first; blocking."""
        accepted = [each for each in self.held() if each.domain in SCOPES[scope] and each.in_time(moment)]
        return [each.certificate for each in sorted(accepted, key=lambda each: not each.is_root)]

    def _added(self, domain: Domain) -> list[bytes]:
        folder = self._directory / domain.value
        if not folder.is_dir():
            return []
        files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
        return [der for file in files for der in _readable(file.read_bytes())]


def pem_bundle(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return certificates as one PEM file, each under a line that names it (RFC 7468 §5.2)."""
    return b"".join(
        f"# {certificate.subject.rfc4514_string()}\n".encode() + certificate.public_bytes(Encoding.PEM)
        for certificate in certificates
    )


def pkcs7_bundle(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return certificates as a certificates-only PKCS#7, DER (RFC 5652 §5.2)."""
    return pkcs7.serialize_certificates(list(certificates), Encoding.DER)


def java_bundle(certificates: Sequence[x509.Certificate]) -> bytes:
    """Return certificates as a Java trust store: PKCS#12 with Java's trust attribute, under `JAVA_PASSWORD`."""
    entries = [
        pkcs12.PKCS12Certificate(certificate, alias.encode()) for alias, certificate in _aliases(certificates)
    ]
    return pkcs12.serialize_java_truststore(entries, BestAvailableEncryption(JAVA_PASSWORD.encode()))


def common_name(name: x509.Name) -> str:
    """Return the `CN` of a DN, or its last unit, or the whole of it."""
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME):
        values = name.get_attributes_for_oid(oid)
        if values:
            return str(values[-1].value)
    return name.rfc4514_string()


def spki_sha256(certificate: x509.Certificate) -> str:
    """Return SHA-256 of a certificate's DER SubjectPublicKeyInfo, in hexadecimal."""
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = hashes.Hash(hashes.SHA256())
    digest.update(spki)
    return digest.finalize().hex()


def _aliases(certificates: Sequence[x509.Certificate]) -> list[tuple[str, x509.Certificate]]:
    """Name each certificate once: two of one CA differ by their fingerprint."""
    return [
        (f"{common_name(each.subject)} {each.fingerprint(hashes.SHA256()).hex()[:8]}".lower(), each)
        for each in certificates
    ]


def _shipped() -> list[bytes]:
    folder = resources.files("cardd.revocation") / "anchors" / Domain.IGC_SANTE_TEST.value
    return [
        der
        for file in sorted(folder.iterdir(), key=lambda each: each.name)
        for der in certificates_in(file.read_bytes())
    ]


def _readable(content: bytes) -> list[bytes]:
    try:
        return certificates_in(content)
    except ValueError:
        return []


def _of_domain(domain: Domain, certificates: Iterable[bytes]) -> list[HeldAuthority]:
    parsed = [each for each in map(loaded_certificate, certificates) if each is not None]
    return [
        HeldAuthority(domain, each)
        for each in parsed
        if domain_of_name(each.subject) is domain and _is_ca(each)
    ]


def _is_ca(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _held_view(held: HeldAuthority, moment: datetime) -> TrustedAuthority:
    certificate, name = held.certificate, DOMAIN_NAMES[held.domain]
    if held.in_time(moment):
        state = TrustState.ACCEPTED
        text = Text(f"Held, of {name.en}.", f"Détenue, de {name.fr}.")
    else:
        state, ends = TrustState.RETIRED, certificate.not_valid_after_utc
        text = Text(
            f"Out of its validity, which ends on {ends:%Y-%m-%d}.",
            f"Hors de sa période de validité, qui se termine le {ends:%d/%m/%Y}.",
        )
    return TrustedAuthority(
        domain=held.domain,
        production=held.domain is Domain.IGC_SANTE,
        name=common_name(certificate.subject),
        subject=certificate.subject.rfc4514_string(),
        root=held.is_root,
        state=state,
        text=text,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        fingerprint_sha256=certificate.fingerprint(hashes.SHA256()).hex(),
        spki_sha256=spki_sha256(certificate),
        certificate=certificate.public_bytes(Encoding.DER),
    )


def _missing_view(domain: Domain, name: str, subject: str) -> TrustedAuthority:
    text = Text(
        f"Known by name only. To accept it, put its certificate into trust/{domain} of the state directory.",
        "Connue par son nom seulement. Pour l’accepter, déposez son certificat dans "
        f"trust/{domain} du répertoire d’état.",
    )
    return TrustedAuthority(
        domain=domain,
        production=domain is Domain.IGC_SANTE,
        name=name,
        subject=subject,
        root="RACINE" in name,
        state=TrustState.NOT_HELD,
        text=text,
    )


def _retired_view() -> TrustedAuthority:
    text = Text(
        "IGC-CPS has been inactive since January 2021; its certificates were replaced by those of IGC-Santé.",
        "L’IGC-CPS est inactive depuis janvier 2021 ; l’IGC-Santé lui a succédé.",
    )
    return TrustedAuthority(
        domain=Domain.IGC_CPS,
        production=True,
        name="AC-CLASSE-n",
        subject="OU=AC-CLASSE-n,O=GIP-CPS,C=FR",
        root=False,
        state=TrustState.RETIRED,
        text=text,
    )
