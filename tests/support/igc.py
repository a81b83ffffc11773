"""A test PKI whose keys are in memory, for tests that need certificates and not custody."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import strategies as st

from cardd.igc.authority import Authority
from cardd.igc.hierarchy import HierarchyBuilder
from cardd.igc.issuing import Issuer, IssueRequest, new_serial
from cardd.igc.lint import Linter
from cardd.igc.names import CaName, OrganisationSubject, PersonSubject, StructurePersonSubject, Subject
from cardd.igc.policy import CaKeyAlgorithm, PkiPolicy
from cardd.igc.profiles import PROFILES, KeyMedium, ProfileName, SanKind
from cardd.igc.signer import SigningPrivateKey, SigningPublicKey
from cardd.vocabulary import Profession

#: When the hierarchy of the tests was prepared.
PREPARED = datetime(2026, 3, 2, 9, 30, 15, 123456, tzinfo=UTC)


@dataclass
class MemorySigner:
    """A signer whose key is here; `signed` counts what it was asked."""

    key: SigningPrivateKey
    signed: list[bytes] = field(default_factory=list)

    @property
    def public_key(self) -> SigningPublicKey:
        return self.key.public_key()

    async def sign(self, data: bytes) -> bytes:
        self.signed.append(data)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, PKCS1v15(), SHA256())
        return self.key.sign(data, ec.ECDSA(SHA256()))


@dataclass(frozen=True)
class TestPki:
    """Policy, linter and authorities, with the issuer over them."""

    __test__ = False

    policy: PkiPolicy
    linter: Linter
    authorities: dict[CaName, Authority]

    @property
    def issuer(self) -> Issuer:
        return Issuer(self.policy, self.authorities, self.linter)


def moments(first_year: int, last_year: int) -> st.SearchStrategy[datetime]:
    """Return moments in UTC between the beginnings of two years."""
    return st.datetimes(
        datetime(first_year, 1, 1),  # noqa: DTZ001  (hypothesis adds the zone)
        datetime(last_year, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    )


def policy_for_tests(**changes: object) -> PkiPolicy:
    """Return a policy that publishes at two loopback addresses."""
    values: dict[str, object] = {
        "base_urls": ("http://127.0.0.1:8980", "http://localhost:8980"),
        "ca_algorithm": CaKeyAlgorithm.RSA_2048,
    }
    return PkiPolicy(**(values | changes))  # type: ignore[arg-type]  # checked by each test's use


def rsa_signer() -> MemorySigner:
    """Return a signer with a new RSA-2048 key."""
    return MemorySigner(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def ec_signer() -> MemorySigner:
    """Return a signer with a new P-256 key."""
    return MemorySigner(ec.generate_private_key(ec.SECP256R1()))


def build_pki(
    policy: PkiPolicy, linter: Linter, signers: dict[CaName, MemorySigner], now: datetime = PREPARED
) -> TestPki:
    """Build the nine authorities, outside any running loop."""
    authorities = asyncio.run(HierarchyBuilder(policy, linter).build(signers, now))
    return TestPki(policy, linter, authorities)


@contextmanager
def quick_pki() -> Iterator[TestPki]:
    """Make a hierarchy of the quickest keys, for the length of the context."""
    linter = Linter()
    policy = policy_for_tests(ca_algorithm=CaKeyAlgorithm.EC_P256)
    yield build_pki(policy, linter, {name: ec_signer() for name in CaName})
    asyncio.run(linter.close())


def spki(key: SigningPublicKey) -> bytes:
    """Return the DER SubjectPublicKeyInfo of `key`."""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def request_for(profile: ProfileName, key: SigningPublicKey, **changes: object) -> IssueRequest:
    """Return a request that fits `profile`, with the subjects of the published samples."""
    template = PROFILES[profile]
    san = template.subject_alternative_name
    values: dict[str, object] = {
        "profile": profile,
        "subject": _SUBJECTS[template.subject],
        "public_key": spki(key),
        "serial": new_serial(),
    }
    if san is SanKind.DNS_NAMES:
        values["subject"] = SERVER
        values["dns_names"] = (SERVER.common_name, "qualif2.cardd.example")
    if san is SanKind.EMAIL:
        values["subject"] = MAILBOX
    if template.card_type is not None:
        values["medium"] = KeyMedium.CARD
        values["card_serial"] = "8025000001/2800636234"
    if template.profession:
        values["profession"] = Profession.INFIRMIER
    return IssueRequest(**(values | changes))  # type: ignore[arg-type]  # checked by each test's use


ORGANISATION = OrganisationSubject(
    state="Paris (75)", organisation="HOPITAL DES 3. DAMES", unit="11B0073160", common_name="EMA"
)
SERVER = OrganisationSubject(
    state="Paris (75)", organisation="CARDD", unit="318751275100020", common_name="qualif1.cardd.example"
)
MAILBOX = OrganisationSubject(
    state="Paris (75)", organisation="CARDD", unit="318751275100020", common_name="contact@cardd.example"
)
PERSON = PersonSubject(
    title="Infirmier", given_name="OLIVIER", common_name="00B6087510", surname="INFIRMCS ADELI8751"
)
EMPLOYEE = StructurePersonSubject(
    state="Paris (75)",
    organisation="HOPITAL GENERIQUE",
    unit="10B0057881",
    title="Personnel santé ou social",
    given_name="CHARLES",
    common_name="30B0057881/CPET0002",
    surname="CPE-TEST",
)
_SUBJECTS: dict[type[Subject], Subject] = {
    OrganisationSubject: ORGANISATION,
    PersonSubject: PERSON,
    StructurePersonSubject: EMPLOYEE,
}
