"""Verdicts on certificates: what a person is told, and what the result is."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cardd.errors import InvalidFieldsError
from cardd.revocation.domains import Domain
from cardd.revocation.findings import FindingCode
from cardd.revocation.types import Decision, Freshness, Reason, RevocationAnswer, Status
from cardd.revocation.verdicts import (
    CertificateUse,
    Result,
    RevocationMode,
    ValidationPolicy,
    ValidationRequest,
    ValidationView,
)
from tests.support.validation import NOW, FakeRevocation, Holder, issued, small_pki, validation


def ask(holder: Holder, **given: object) -> ValidationRequest:
    """Make a request for a certificate."""
    return ValidationRequest(certificate=holder.pem, **given)  # type: ignore[arg-type]


def codes(view: ValidationView) -> set[FindingCode]:
    """Return what was found, information aside."""
    return {each.code for each in view.findings if each.severity != "info"}


async def test_a_good_certificate_is_valid_and_its_path_is_told(tmp_path: Path) -> None:
    view = await validation(tmp_path).validate(ask(small_pki().leaf()))
    assert (view.result, view.domain, codes(view)) == (Result.VALID, Domain.LOCAL, set())
    assert [each.subject for each in view.path] == ["CN=EMA", "CN=TEST CA", "CN=TEST ROOT"]
    assert [each.role for each in view.path] == ["certificate", "intermediate", "anchor"]
    assert view.path[0].revocation is not None
    assert view.path[2].revocation is None


async def test_a_revoked_certificate_is_revoked_and_the_reason_is_told(tmp_path: Path) -> None:
    leaf, revocation = small_pki().leaf(), FakeRevocation()
    revocation.answers[leaf.certificate.serial_number] = RevocationAnswer(
        status=Status.REVOKED,
        freshness=Freshness.FRESH,
        reason=Reason.KEY_COMPROMISE,
        revoked_at=NOW - timedelta(days=1),
    )
    view = await validation(tmp_path, revocation).validate(ask(leaf), "fr")
    assert view.result is Result.REVOKED
    assert (
        view.findings[0].detail == "Le certificat a été révoqué le 01/03/2026 09:00:00 UTC (clé compromise)."
    )
    assert view.findings[0].text.en.startswith("The certificate was revoked on 2026-03-01 09:00:00 UTC")


async def test_a_certificate_of_a_revoked_ca_is_revoked_and_the_ca_is_named(tmp_path: Path) -> None:
    revocation = FakeRevocation()
    revocation.answers[small_pki().ca.certificate.serial_number] = RevocationAnswer(
        status=Status.REVOKED, freshness=Freshness.FRESH, revoked_at=NOW
    )
    view = await validation(tmp_path, revocation).validate(ask(small_pki().leaf()))
    assert view.result is Result.REVOKED
    assert view.findings[0].certificate == 1
    assert "CN=TEST CA" in view.findings[0].detail


async def test_an_expired_and_revoked_certificate_is_told_to_be_both(tmp_path: Path) -> None:
    leaf, revocation = small_pki().leaf(ends=NOW - timedelta(days=2)), FakeRevocation()
    revocation.answers[leaf.certificate.serial_number] = RevocationAnswer(
        status=Status.REVOKED, freshness=Freshness.FRESH, revoked_at=NOW - timedelta(days=9)
    )
    view = await validation(tmp_path, revocation).validate(ask(leaf))
    assert view.result is Result.REVOKED
    assert codes(view) == {FindingCode.REVOKED, FindingCode.EXPIRED}


@pytest.mark.parametrize(
    ("answer", "result", "code"),
    [
        ((Status.GOOD, Freshness.STALE, Decision.WARN), Result.VALID, FindingCode.LIST_STALE),
        ((Status.GOOD, Freshness.STALE, Decision.REFUSE), Result.INDETERMINATE, FindingCode.LIST_STALE),
        ((Status.GOOD, Freshness.EXPIRED, Decision.WARN), Result.VALID, FindingCode.LIST_EXPIRED),
        (
            (Status.UNKNOWN, Freshness.EXPIRED, Decision.REFUSE),
            Result.INDETERMINATE,
            FindingCode.LIST_EXPIRED,
        ),
        (
            (Status.UNKNOWN, Freshness.UNAVAILABLE, Decision.REFUSE),
            Result.INDETERMINATE,
            FindingCode.STATUS_UNAVAILABLE,
        ),
        (
            (Status.UNKNOWN, Freshness.FRESH, Decision.REFUSE),
            Result.INDETERMINATE,
            FindingCode.LIST_INSUFFICIENT,
        ),
    ],
)
async def test_what_is_not_known_or_old_is_said_and_never_passes_for_good(
    tmp_path: Path, answer: tuple[Status, Freshness, Decision], result: Result, code: FindingCode
) -> None:
    leaf, revocation = small_pki().leaf(), FakeRevocation()
    status, freshness, decision = answer
    revocation.answers[leaf.certificate.serial_number] = RevocationAnswer(
        status=status, freshness=freshness, decision=decision
    )
    view = await validation(tmp_path, revocation).validate(ask(leaf))
    assert (view.result, codes(view)) == (result, {code})


async def test_a_gap_is_a_warning_where_the_application_says_so(tmp_path: Path) -> None:
    leaf, revocation = small_pki().leaf(), FakeRevocation()
    revocation.answers[leaf.certificate.serial_number] = RevocationAnswer(
        status=Status.UNKNOWN, freshness=Freshness.UNAVAILABLE
    )
    policy = ValidationPolicy(revocation=RevocationMode.IF_AVAILABLE)
    view = await validation(tmp_path, revocation).validate(ask(leaf, policy=policy))
    assert view.result is Result.VALID
    assert codes(view) == {FindingCode.STATUS_UNAVAILABLE}


async def test_revocation_is_not_asked_where_it_is_not_wanted_and_that_is_said(tmp_path: Path) -> None:
    revocation = FakeRevocation()
    policy = ValidationPolicy(revocation=RevocationMode.NONE)
    view = await validation(tmp_path, revocation).validate(ask(small_pki().leaf(), policy=policy))
    assert (view.result, revocation.asked) == (Result.VALID, [])
    assert FindingCode.STATUS_NOT_ASKED in {each.code for each in view.findings}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"ends": NOW - timedelta(seconds=2)}, FindingCode.EXPIRED),
        ({"begins": NOW + timedelta(days=1)}, FindingCode.NOT_YET_VALID),
    ],
)
async def test_a_certificate_out_of_time_is_invalid(
    tmp_path: Path, change: dict[str, Any], code: FindingCode
) -> None:
    view = await validation(tmp_path).validate(ask(small_pki().leaf(**change)))
    assert (view.result, codes(view)) == (Result.INVALID, {code})


async def test_a_wrong_signature_is_invalid_and_revocation_is_not_asked(tmp_path: Path) -> None:
    der = small_pki().leaf().certificate.public_bytes(Encoding.DER)
    forged = der.replace(b"EMA", b"EMB")
    holder = Holder(x509.load_der_x509_certificate(forged), small_pki().ca.key)
    revocation = FakeRevocation()
    view = await validation(tmp_path, revocation).validate(ask(holder))
    assert (view.result, codes(view)) == (Result.INVALID, {FindingCode.SIGNATURE_WRONG})
    assert revocation.asked == []


async def test_a_leaf_that_signs_certificates_is_not_a_ca(tmp_path: Path) -> None:
    leaf = small_pki().leaf()
    below = issued("BELOW", leaf)
    view = await validation(tmp_path).validate(ask(below, intermediates=(leaf.pem,)))
    assert (view.result, codes(view)) == (Result.INVALID, {FindingCode.NOT_A_CA})


async def test_an_unknown_issuer_leaves_the_result_open(tmp_path: Path) -> None:
    stranger = issued("STRANGER", issued("OTHER ROOT", None, ca=True))
    view = await validation(tmp_path).validate(ask(stranger))
    assert (view.result, codes(view)) == (Result.INDETERMINATE, {FindingCode.ISSUER_UNKNOWN})
    assert "OTHER ROOT" in view.findings[0].detail
    assert view.findings[0].advice


async def test_a_ca_of_the_same_name_with_another_key_is_told_apart(tmp_path: Path) -> None:
    impostor = issued("TEST CA", issued("OTHER ROOT", None, ca=True), ca=True)
    view = await validation(tmp_path).validate(ask(issued("LEAF", impostor)))
    assert (view.result, codes(view)) == (Result.INDETERMINATE, {FindingCode.ISSUER_UNKNOWN})
    assert "has another key" in view.findings[0].detail


async def test_a_stranger_that_certifies_itself_is_not_trusted(tmp_path: Path) -> None:
    view = await validation(tmp_path).validate(ask(issued("SELF", None)))
    assert (view.result, codes(view)) == (Result.INDETERMINATE, {FindingCode.NOT_TRUSTED})


async def test_a_root_held_is_valid_by_itself(tmp_path: Path) -> None:
    view = await validation(tmp_path).validate(ask(small_pki().root))
    assert (view.result, len(view.path)) == (Result.VALID, 1)


async def test_anchors_of_the_request_count_for_it_only(tmp_path: Path) -> None:
    root = issued("OTHER ROOT", None, ca=True)
    leaf, service = issued("LEAF", root), validation(tmp_path)
    view = await service.validate(ask(leaf, policy=ValidationPolicy(anchors=(root.pem,))))
    assert (view.result, view.domain) == (Result.VALID, Domain.GIVEN)
    assert (await service.validate(ask(leaf))).result is Result.INDETERMINATE


async def test_a_chain_file_brings_its_own_intermediates(tmp_path: Path) -> None:
    root = issued("OTHER ROOT", None, ca=True)
    ca = issued("OTHER CA", root, ca=True)
    leaf = issued("LEAF", ca)
    request = ValidationRequest(certificate=leaf.pem + ca.pem, policy=ValidationPolicy(anchors=(root.pem,)))
    assert (await validation(tmp_path).validate(request)).result is Result.VALID


async def test_the_wrong_certificate_of_a_card_is_told(tmp_path: Path) -> None:
    leaf = small_pki().leaf(purpose=ExtendedKeyUsageOID.CLIENT_AUTH)
    policy = ValidationPolicy(use=CertificateUse.SIGNATURE)
    view = await validation(tmp_path).validate(ask(leaf, policy=policy))
    assert (view.result, codes(view)) == (Result.INVALID, {FindingCode.USAGE_NOT_ALLOWED})
    right = ValidationPolicy(use=CertificateUse.CLIENT)
    assert (await validation(tmp_path).validate(ask(leaf, policy=right))).result is Result.VALID


async def test_a_past_moment_is_asked_of_the_archive(tmp_path: Path) -> None:
    leaf, revocation = small_pki().leaf(), FakeRevocation()
    moment = NOW - timedelta(days=3)
    revocation.answers[leaf.certificate.serial_number] = RevocationAnswer(
        status=Status.UNKNOWN, freshness=Freshness.UNAVAILABLE
    )
    view = await validation(tmp_path, revocation).validate(ask(leaf, at=moment))
    assert (view.result, codes(view)) == (Result.INDETERMINATE, {FindingCode.ARCHIVE_MISSING})
    assert {asked[1] for asked in revocation.asked} == {moment}
    assert view.at == moment


async def test_a_later_revocation_does_not_undo_what_was_valid_then(tmp_path: Path) -> None:
    leaf, revocation = small_pki().leaf(), FakeRevocation()
    revocation.answers[leaf.certificate.serial_number] = RevocationAnswer(
        status=Status.REVOKED, freshness=Freshness.FRESH, revoked_at=NOW - timedelta(days=1)
    )
    view = await validation(tmp_path, revocation).validate(ask(leaf, at=NOW - timedelta(days=2)))
    assert (view.result, codes(view)) == (Result.VALID, {FindingCode.REVOKED_LATER})


async def test_lists_of_the_request_decide_instead_of_the_cache(tmp_path: Path) -> None:
    pki, revocation = small_pki(), FakeRevocation()
    leaf = pki.leaf()
    lists = (pki.crl(issuer=pki.root), pki.crl((leaf.certificate.serial_number, NOW - timedelta(days=1))))
    service = validation(tmp_path, revocation)
    view = await service.validate(ask(leaf, crls=lists))
    assert (view.result, revocation.asked) == (Result.REVOKED, [])
    assert view.path[0].revocation is not None
    assert view.path[0].revocation.reason is Reason.KEY_COMPROMISE
    clear = await service.validate(ask(leaf, crls=(pki.crl(issuer=pki.root), pki.crl())))
    assert clear.result is Result.VALID


async def test_a_list_of_the_request_signed_by_another_key_says_nothing(tmp_path: Path) -> None:
    pki = small_pki()
    impostor = issued("TEST CA", None, ca=True)
    lists = (pki.crl(issuer=pki.root), pki.crl(issuer=impostor))
    view = await validation(tmp_path).validate(ask(pki.leaf(), crls=lists))
    assert (view.result, codes(view)) == (Result.INDETERMINATE, {FindingCode.STATUS_UNAVAILABLE})


async def test_the_freshness_policy_named_reaches_the_cache(tmp_path: Path) -> None:
    revocation = FakeRevocation()
    policy = ValidationPolicy(freshness="strict")
    await validation(tmp_path, revocation).validate(ask(small_pki().leaf(), policy=policy))
    assert {asked[2].name for asked in revocation.asked if asked[2]} == {"strict"}


async def test_everything_unreadable_is_named_at_once(tmp_path: Path) -> None:
    request = ValidationRequest(
        certificate="no certificate",
        intermediates=("AAAA",),
        crls=("AAAA",),
        policy=ValidationPolicy(anchors=("AAAA",)),
    )
    with pytest.raises(InvalidFieldsError) as caught:
        await validation(tmp_path).validate(request)
    assert [each.field for each in caught.value.fields] == [
        "certificate",
        "intermediates.0",
        "policy.anchors.0",
        "crls.0",
    ]


async def test_igc_cps_is_told_as_retired_and_not_as_an_unknown_issuer(tmp_path: Path) -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "GIP-CPS"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "AC-CLASSE-4"),
        ]
    )
    old = issued("OLD", issued("", None, ca=True, name=name))
    service = validation(tmp_path)
    view = await service.validate(ask(old), "fr")
    assert (view.result, view.domain) == (Result.INVALID, Domain.IGC_CPS)
    assert codes(view) == {FindingCode.IGC_CPS_RETIRED}
    assert "inactive depuis janvier 2021" in view.findings[0].detail
    before = await service.validate(ask(old, at=NOW.replace(year=2020)))
    assert FindingCode.IGC_CPS_RETIRED in codes(before)


def production_ca() -> Holder:
    """Return a CA of the name of ANS's production root, held by these tests only."""
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "FR"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ASIP-SANTE"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "0002 187512751"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "IGC-SANTE"),
            x509.NameAttribute(NameOID.COMMON_NAME, "AC RACINE IGC-SANTE FORT"),
        ]
    )
    return issued("", None, ca=True, name=name)


async def test_a_production_issuer_that_is_not_held_is_named_as_what_it_is(tmp_path: Path) -> None:
    view = await validation(tmp_path).validate(ask(issued("REAL", production_ca())))
    assert (view.result, view.domain) == (Result.INDETERMINATE, Domain.IGC_SANTE)
    assert "of production by its name" in view.findings[0].detail


async def test_production_is_accepted_only_where_it_is_named(tmp_path: Path) -> None:
    root = production_ca()
    folder = tmp_path / "trust" / "igc_sante"
    folder.mkdir(parents=True)
    (folder / "root.pem").write_text(root.pem)
    leaf, service = issued("REAL", root), validation(tmp_path)
    refused = await service.validate(ask(leaf))
    assert (refused.result, codes(refused)) == (Result.INVALID, {FindingCode.DOMAIN_NOT_ACCEPTED})
    accepted = await service.validate(ask(leaf, policy=ValidationPolicy(accept=("igc_sante",))))
    assert (accepted.result, accepted.domain) == (Result.VALID, Domain.IGC_SANTE)


async def test_a_production_caller_does_not_take_a_test_certificate(tmp_path: Path) -> None:
    policy = ValidationPolicy(accept=("igc_sante",))
    view = await validation(tmp_path).validate(ask(small_pki().leaf(), policy=policy))
    assert (view.result, codes(view)) == (Result.INVALID, {FindingCode.DOMAIN_NOT_ACCEPTED})


async def test_the_verdict_is_the_same_after_json(tmp_path: Path) -> None:
    view = await validation(tmp_path).validate(ask(small_pki().leaf()))
    assert msgspec.json.decode(msgspec.json.encode(view), type=ValidationView) == view
