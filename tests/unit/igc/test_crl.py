from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cardd.igc import der
from cardd.igc.authority import Authority
from cardd.igc.crl import CrlBuilder, Entries, RevocationReason, encode_entry
from cardd.igc.errors import LintRefusedError, SigningError
from cardd.igc.names import CaName
from cardd.igc.signer import key_with_signature
from tests.support.igc import MemorySigner, TestPki, moments

NOW = datetime(2026, 4, 3, 15, 33, 7, 654321, tzinfo=UTC)

_REASON_FLAGS = {
    RevocationReason.KEY_COMPROMISE: x509.ReasonFlags.key_compromise,
    RevocationReason.CA_COMPROMISE: x509.ReasonFlags.ca_compromise,
    RevocationReason.AFFILIATION_CHANGED: x509.ReasonFlags.affiliation_changed,
    RevocationReason.SUPERSEDED: x509.ReasonFlags.superseded,
    RevocationReason.CESSATION_OF_OPERATION: x509.ReasonFlags.cessation_of_operation,
    RevocationReason.PRIVILEGE_WITHDRAWN: x509.ReasonFlags.privilege_withdrawn,
    RevocationReason.AA_COMPROMISE: x509.ReasonFlags.aa_compromise,
}

revocations = st.tuples(
    st.integers(1, 2**159 - 1),
    moments(1990, 2080).map(lambda moment: moment.replace(microsecond=0)),
    st.sampled_from(RevocationReason),
)


@pytest.fixture(params=["rsa", "ec"])
def any_pki(request: pytest.FixtureRequest, pki: TestPki, ec_pki: TestPki) -> TestPki:
    return pki if request.param == "rsa" else ec_pki


def _by_the_library(
    crl: x509.CertificateRevocationList,
    authority: Authority,
    entries: list[tuple[int, datetime, RevocationReason]],
) -> bytes:
    """Build the list that says the same with the library's builder, around the same signature."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(authority.certificate.subject)
        .last_update(crl.last_update_utc)
        .next_update(crl.next_update_utc or NOW)
    )
    for extension in crl.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    for serial, revoked_at, reason in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(revoked_at)
        if reason is not RevocationReason.UNSPECIFIED:
            entry = entry.add_extension(x509.CRLReason(_REASON_FLAGS[reason]), critical=False)
        builder = builder.add_revoked_certificate(entry.build())
    algorithm = crl.signature_hash_algorithm
    assert algorithm is not None
    key = key_with_signature(authority.signer.public_key, crl.signature)
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)  # type: ignore[arg-type]


@given(entries=st.lists(revocations, max_size=20), number=st.integers(0, 2**63), now=moments(2027, 2060))  # fmt: skip
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
async def test_a_list_is_byte_for_byte_what_the_library_builds(
    any_pki: TestPki, entries: list[tuple[int, datetime, RevocationReason]], number: int, now: datetime
) -> None:
    authority = any_pki.authorities[CaName.ACI_EL_ORG]
    encoded = [encode_entry(*entry) for entry in entries]
    builder = CrlBuilder(any_pki.policy, any_pki.linter)
    for signed in (
        await builder.complete(authority, number, Entries(more=encoded), now),
        await builder.delta(authority, number + 1, number, Entries(more=encoded), now),
    ):
        crl = x509.load_der_x509_crl(signed.der)
        assert crl.is_signature_valid(authority.signer.public_key)
        assert signed.der == _by_the_library(crl, authority, entries)


async def test_a_complete_list_points_to_its_delta_and_limits_nothing(pki: TestPki) -> None:
    authority = pki.authorities[CaName.ACI_EL_ORG]
    entry = encode_entry(0x77, NOW, RevocationReason.KEY_COMPROMISE)
    signed = await CrlBuilder(pki.policy, pki.linter).complete(authority, 41, Entries(more=[entry]), NOW)
    crl = x509.load_der_x509_crl(signed.der)
    assert [(type(e.value), e.critical) for e in crl.extensions] == [
        (x509.AuthorityKeyIdentifier, False),
        (x509.CRLNumber, False),
        (x509.FreshestCRL, False),
    ]
    assert (signed.number, signed.base_number, signed.entries) == (41, None, 1)
    assert crl.last_update_utc == signed.this_update == NOW.replace(microsecond=0)
    assert crl.next_update_utc == signed.next_update == signed.this_update + timedelta(days=7)
    (revoked,) = crl
    assert revoked.serial_number == 0x77
    assert revoked.extensions[0].value == x509.CRLReason(x509.ReasonFlags.key_compromise)


async def test_a_delta_names_its_base_in_a_critical_extension(pki: TestPki) -> None:
    authority = pki.authorities[CaName.ACI_EL_ORG]
    signed = await CrlBuilder(pki.policy, pki.linter).delta(authority, 43, 41, Entries(), NOW)
    crl = x509.load_der_x509_crl(signed.der)
    indicator = crl.extensions.get_extension_for_class(x509.DeltaCRLIndicator)
    assert (indicator.value.crl_number, indicator.critical) == (41, True)
    assert signed.base_number == 41
    assert crl.next_update_utc == signed.this_update + timedelta(days=1)


async def test_an_empty_list_leaves_revoked_certificates_out(pki: TestPki) -> None:
    signed = await CrlBuilder(pki.policy, pki.linter).complete(
        pki.authorities[CaName.ACR_EL], 1, Entries(), NOW
    )
    times = der.time(signed.this_update) + der.time(signed.next_update)
    after = signed.der[signed.der.index(times) + len(times)]
    assert after == 0xA0


def test_the_reason_unspecified_is_left_out() -> None:
    entry = encode_entry(5, datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), RevocationReason.UNSPECIFIED)
    assert entry == bytes.fromhex("3012020105170D") + b"260102030405Z"


def test_a_revocation_from_2050_is_dated_in_generalized_time() -> None:
    entry = encode_entry(5, datetime(2050, 1, 1, tzinfo=UTC), RevocationReason.UNSPECIFIED)
    assert b"\x18\x0f20500101000000Z" in entry


@pytest.mark.parametrize("length", [0, 127, 128, 255, 256, 65536])
def test_lengths_are_definite_and_shortest(length: int) -> None:
    encoded = der.tlv(der.TAG_OCTET_STRING, bytes(length))
    header = encoded[: len(encoded) - length]
    expected = bytes([length]) if length < 128 else None
    if expected is None:
        octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
        expected = bytes([0x80 | len(octets)]) + octets
    assert header == b"\x04" + expected


@given(st.integers(-(2**170), 2**170))
def test_integers_read_back_and_are_shortest(value: int) -> None:
    encoded = der.integer(value)
    assert int.from_bytes(encoded[2:], "big", signed=True) == value
    if len(encoded) > 3:
        assert (encoded[2], encoded[3] >> 7) not in {(0, 0), (0xFF, 1)}


async def test_a_list_whose_signature_does_not_verify_is_never_handed_out(pki: TestPki) -> None:
    class Liar(MemorySigner):
        async def sign(self, data: bytes) -> bytes:
            return await super().sign(data + b"!")

    honest = pki.authorities[CaName.ACR_ST]
    assert isinstance(honest.signer, MemorySigner)
    liar = Authority(honest.name, honest.certificate, Liar(honest.signer.key))
    with pytest.raises(SigningError):
        await CrlBuilder(pki.policy, pki.linter).complete(liar, 1, Entries(), NOW)


async def test_the_linter_refuses_a_list_before_the_cas_key_signs(pki: TestPki) -> None:
    authority = pki.authorities[CaName.ACR_FO]
    assert isinstance(authority.signer, MemorySigner)
    asked = len(authority.signer.signed)
    garbage = der.sequence(der.integer(5))
    with pytest.raises(LintRefusedError):
        await CrlBuilder(pki.policy, pki.linter).complete(authority, 1, Entries(more=[garbage]), NOW)
    assert len(authority.signer.signed) == asked


async def test_an_entry_that_was_damaged_among_many_stops_its_list(pki: TestPki) -> None:
    good = encode_entry(5, NOW, RevocationReason.SUPERSEDED)
    entries = [b"damaged", *[good] * 20]
    with pytest.raises(SigningError):
        await CrlBuilder(pki.policy, pki.linter).complete(
            pki.authorities[CaName.ACR_FO], 1, Entries(more=entries), NOW
        )
