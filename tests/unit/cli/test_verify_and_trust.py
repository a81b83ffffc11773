"""`cardd verify` and `cardd trust` against a fake daemon: what is sent, what is said, which exit code."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from cardd.cli.exits import ExitCode
from cardd.revocation.domains import Domain, TrustedAuthority, TrustState
from cardd.revocation.findings import FindingCode, Severity
from cardd.revocation.types import Decision, Freshness, RevocationAnswer, Status
from cardd.revocation.verdicts import FindingView, PathElement, Result, ValidationView
from cardd.text import Text
from tests.support.fake_daemon import FakeDaemon, Scripted, problem
from tests.support.validation import small_pki
from tests.unit.cli.conftest import Cardd

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


def view(result: Result, **changes: object) -> ValidationView:
    """Return a verdict on a path of one certificate."""
    element = PathElement(
        role="certificate",
        subject="CN=EMA",
        issuer="CN=TEST CA",
        serial="01",
        not_before=NOW,
        not_after=NOW,
        fingerprint_sha256="00" * 32,
        revocation=RevocationAnswer(
            status=Status.REVOKED, freshness=Freshness.FRESH, decision=Decision.REFUSE
        ),
    )
    finding = FindingView(
        code=FindingCode.REVOKED,
        severity=Severity.ERROR,
        detail="The certificate was revoked.\x1b[2J",
        advice="Do not accept it.",
        certificate=0,
        text=Text("The certificate was revoked.", "Le certificat a été révoqué."),
    )
    base = ValidationView(result=result, at=NOW, domain=Domain.LOCAL, path=(element,), findings=(finding,))
    return msgspec.structs.replace(base, **changes)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A certificate in DER."""
    path = tmp_path / "certificate.der"
    path.write_bytes(small_pki().ca.certificate.public_bytes(Encoding.DER))
    return path


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (Result.VALID, ExitCode.OK),
        (Result.REVOKED, ExitCode.CHECK_FAILED),
        (Result.INVALID, ExitCode.CHECK_FAILED),
        (Result.INDETERMINATE, ExitCode.CHECK_FAILED),
    ],
)
def test_only_a_valid_certificate_ends_with_zero(
    cardd: Cardd, fake: FakeDaemon, file: Path, result: Result, code: ExitCode
) -> None:
    fake.on("POST", "/validation", Scripted(200, view(result)))
    assert cardd("verify", str(file)).code == code


def test_the_verdict_and_every_finding_are_said_without_driving_the_terminal(
    cardd: Cardd, fake: FakeDaemon, file: Path
) -> None:
    fake.on("POST", "/validation", Scripted(200, view(Result.REVOKED)))
    shown = cardd("verify", str(file)).out
    assert "REVOKED" in shown
    assert "CN=EMA" in shown
    assert "error: The certificate was revoked." in shown
    assert "Do not accept it." in shown
    assert "\x1b" not in shown


def test_what_is_asked_is_sent(cardd: Cardd, fake: FakeDaemon, file: Path, tmp_path: Path) -> None:
    fake.on("POST", "/validation", Scripted(200, view(Result.VALID)))
    chain = tmp_path / "chain.pem"
    chain.write_text(small_pki().root.pem)
    done = cardd(
        "verify", str(file), "--chain", str(chain), "--anchor", str(chain), "--at", "2026-05-01",
        "--use", "signature", "--revocation", "none", "--production", "--json",
    )  # fmt: skip
    assert done.code == ExitCode.OK
    sent = fake.asked[0].body
    assert not sent["certificate"].startswith("-----")
    assert sent["intermediates"] == [small_pki().root.pem]
    assert sent["at"].startswith("2026-05-01T00:00:00")
    assert sent["policy"]["accept"] == ["igc_sante"]
    assert (sent["policy"]["use"], sent["policy"]["revocation"]) == ("signature", "none")
    assert sent["policy"]["anchors"] == [small_pki().root.pem]
    assert msgspec.json.decode(done.out)["result"] == "valid"


def test_a_file_without_a_certificate_is_refused_in_words(
    cardd: Cardd, fake: FakeDaemon, tmp_path: Path
) -> None:
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing")
    fake.on("POST", "/validation", problem(422, "invalid_fields", "certificate: holds no certificate"))
    done = cardd("verify", str(nothing))
    assert done.code == ExitCode.REFUSED
    assert "holds no certificate" in done.err


def test_trust_lists_the_authorities_with_their_reasons(cardd: Cardd, fake: FakeDaemon) -> None:
    retired = TrustedAuthority(
        domain=Domain.IGC_CPS,
        production=True,
        name="AC-CLASSE-n",
        subject="OU=AC-CLASSE-n,O=GIP-CPS,C=FR",
        root=False,
        state=TrustState.RETIRED,
        text=Text("Inactive since January 2021.", "Inactive depuis janvier 2021."),
        reason="Inactive since January 2021.",
    )
    fake.on("GET", "/trust", Scripted(200, {"authorities": [retired]}))
    shown = cardd("trust").out
    assert "AC-CLASSE-n" in shown
    assert "Inactive since January 2021." in shown


def test_a_bundle_is_written_in_the_format_and_for_the_scope_asked(
    cardd: Cardd, fake: FakeDaemon, tmp_path: Path
) -> None:
    fake.on("GET", "/trust", Scripted(200, b"bundle", "application/x-pkcs12"))
    target = tmp_path / "trust.p12"
    done = cardd("trust", "--format", "java", "--scope", "production", "--output", str(target))
    assert (done.code, target.read_bytes()) == (ExitCode.OK, b"bundle")
    assert "changeit" in done.err
    assert fake.asked[0].target == "/api/v1/trust?scope=production"
    assert fake.asked[0].headers["Accept"] == "application/x-pkcs12"
