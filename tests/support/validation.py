"""A small PKI in memory and a revocation service that answers what a test tells it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cardd.clock import ManualClock
from cardd.errors import NotFoundError
from cardd.revocation.policies import FRESHNESS_POLICIES
from cardd.revocation.sources import NewSource
from cardd.revocation.trust import TrustStore
from cardd.revocation.types import (
    ArchivedList,
    CrlId,
    CrlRequest,
    CrlView,
    Decision,
    Freshness,
    FreshnessPolicy,
    Question,
    Revocation,
    RevocationAnswer,
    SpkiHash,
    Status,
)
from cardd.revocation.validation import Validation
from cardd.text import Language, Text

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
BEGINS, ENDS = NOW - timedelta(days=30), NOW + timedelta(days=300)
GOOD = RevocationAnswer(status=Status.GOOD, freshness=Freshness.FRESH, decision=Decision.ACCEPT)


@dataclass
class FakeRevocation:
    """Answers `good` unless told otherwise, by serial; `asked` remembers serial, moment and policy."""

    answers: dict[int, RevocationAnswer] = field(default_factory=dict)
    asked: list[tuple[int, datetime | None, FreshnessPolicy | None]] = field(default_factory=list)

    def answer(
        self, issuer: SpkiHash, serial: int, policy: FreshnessPolicy | None = None
    ) -> RevocationAnswer:
        self.asked.append((serial, None, policy))
        return self.answers.get(serial, GOOD)

    async def batch(
        self, questions: Sequence[Question], policy: FreshnessPolicy | None = None
    ) -> list[RevocationAnswer]:
        return [self.answer(each.issuer, each.serial, policy) for each in questions]

    async def status_of(
        self,
        certificate: x509.Certificate,
        at: datetime | None = None,
        policy: FreshnessPolicy | None = None,
    ) -> RevocationAnswer:
        self.asked.append((certificate.serial_number, at, policy))
        return self.answers.get(certificate.serial_number, GOOD)

    def signer(self, source: CrlId) -> x509.Certificate | None:
        return None

    async def archived(self, issuer: SpkiHash, at: datetime) -> list[ArchivedList]:
        return []

    def lists(self, language: Language = "en") -> list[CrlView]:
        return []

    def get(self, source: str, language: Language = "en") -> CrlView:
        raise NotFoundError.of(Text("revocation list", "liste de révocation"), source)

    def file(self, source: str) -> Path:
        raise NotFoundError.of(Text("revocation list", "liste de révocation"), source)

    def authorities(self) -> list[x509.Certificate]:
        return []

    def lacks(self, new: NewSource) -> bool:
        return False

    async def keep(self, new: NewSource) -> CrlView:
        return self.get(new.id)

    async def add(self, request: CrlRequest) -> CrlView:
        return self.get("new")

    async def remove(self, source: str) -> None:
        self.get(source)

    async def refresh(self, source: str) -> CrlView:
        return self.get(source)


class BuiltInPolicies:
    """The policies that every daemon has, `standard` by default."""

    def of(
        self, name: str | None = None, callers: Iterable[str] = (), field: str = "policy"
    ) -> FreshnessPolicy:
        return FRESHNESS_POLICIES[name or "standard"]


@dataclass(frozen=True)
class Holder:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode("ascii")


@dataclass(frozen=True)
class SmallPki:
    """A root, a CA below it, and certificates of that CA."""

    root: Holder
    ca: Holder

    def leaf(self, common_name: str = "EMA", **changes: object) -> Holder:
        return issued(common_name, self.ca, **changes)  # type: ignore[arg-type]

    def crl(self, *revoked: tuple[int, datetime], issuer: Holder | None = None) -> str:
        signer = issuer or self.ca
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(signer.certificate.subject)
            .last_update(NOW - timedelta(hours=1))
            .next_update(NOW + timedelta(days=7))
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.key.public_key()), critical=False
            )
            .add_extension(x509.CRLNumber(1), critical=False)
        )
        for serial, at in revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
            reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
            builder = builder.add_revoked_certificate(entry.add_extension(reason, critical=False).build())
        return builder.sign(signer.key, hashes.SHA256()).public_bytes(Encoding.PEM).decode("ascii")


@cache
def small_pki() -> SmallPki:
    """Return a PKI made once a test run."""
    root = issued("TEST ROOT", None, ca=True)
    return SmallPki(root, issued("TEST CA", root, ca=True, path_length=0))


def issued(
    common_name: str,
    issuer: Holder | None,
    *,
    ca: bool = False,
    path_length: int | None = None,
    begins: datetime = BEGINS,
    ends: datetime = ENDS,
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.CLIENT_AUTH,
    name: x509.Name | None = None,
) -> Holder:
    """Return a certificate of `issuer`, or of itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = name or x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    signing = issuer.key if issuer else key
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
         "decipher_only"), False
    )  # fmt: skip
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(ends)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=path_length), critical=ca)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usage), critical=True
        )
    )
    if not ca:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return Holder(builder.sign(signing, hashes.SHA256()), key)


def validation(directory: Path, revocation: Revocation | None = None, *, now: datetime = NOW) -> Validation:
    """Return the service over the small PKI, as if it were the daemon's own."""
    pki = small_pki()
    store = TrustStore(lambda: [pki.root.certificate, pki.ca.certificate], directory / "trust")
    return Validation(store, revocation or FakeRevocation(), ManualClock(now), BuiltInPolicies())
