"""Every copy path that a person would try, and what becomes of it with the daemon's registry watching.

The attacker may read the token's files and knows its PIN. Nothing that goes through PKCS#11 or looks into files gets
the key. A software token taken as a whole works elsewhere, which nothing prevents; it is noticed when it meets the
registry that the original meets. With a key in a TPM, there is no copy.
"""

from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cardd_pkcs11.types import CustodyLevel, Spki
from tests.attacks.attempts import ON_SOFTHSM, ON_TPM
from tests.attacks.campaign import attack, softhsm_targets
from tests.attacks.harness import Attempt, Became, Line, failures, report
from tests.support.softhsm import require_tool

_TOOLS = ("softhsm2-util", "softhsm2-dump-file", "pkcs11-tool", "p11tool", "openssl")


def test_a_copy_of_a_software_token_takes_the_whole_token_and_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for tool in _TOOLS:
        require_tool(tool)
    lines = attack(CustodyLevel.SOFTWARE, tmp_path)
    with capsys.disabled():
        print(f"\n{report(lines)}")
    assert failures(lines, CustodyLevel.SOFTWARE) == []
    assert len(lines) == len(ON_SOFTHSM)
    copied = {line.attempt.name for line in lines if line.became.copied}
    assert copied == {attempt.name for attempt in ON_SOFTHSM if not attempt.prevented}


@pytest.mark.slow
def test_there_is_no_copy_of_a_key_in_a_tpm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tool in (*_TOOLS, "tpm2_ptool", "tpm2_load"):
        require_tool(tool)
    lines = attack(CustodyLevel.HARDWARE, tmp_path)
    with capsys.disabled():
        print(f"\n{report(lines)}")
    assert len(lines) == len(ON_TPM)
    assert [line.attempt.name for line in lines if line.became.copied] == []
    assert failures(lines, CustodyLevel.HARDWARE) == []


def test_a_copy_must_be_noticed_on_software_and_not_happen_on_hardware() -> None:
    copied, changed = Became(copied=True, detail=""), Became(copied=False, detail="", changed=True)
    attempt = Attempt(name="copy", tool="cp", take=lambda _: copied)
    seen, unseen = Line(attempt, copied, "alarm"), Line(attempt, copied, None)
    assert failures([seen], CustodyLevel.SOFTWARE) == []
    assert failures([unseen], CustodyLevel.SOFTWARE) == ["cp: copy"]
    assert failures([seen], CustodyLevel.HARDWARE) == ["cp: copy"]
    assert failures([Line(attempt, changed, None)], CustodyLevel.HARDWARE) == ["cp: copy"]
    assert failures([Line(attempt, changed, "finding")], CustodyLevel.HARDWARE) == []


def test_a_key_in_the_clear_or_a_signature_would_be_found(tmp_path: Path) -> None:
    """So that a refusal above is not a mistake of what looks for the key."""
    target = softhsm_targets(tmp_path)()
    assert target.signs(target.environment)
    assert not target.signs(target.environment, pin="wrong-pin")
    known = rsa.generate_private_key(65537, 2048)
    spki = Spki(known.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    clear = known.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert replace(target, rsa_spki=spki).reveals(clear)
    assert not target.reveals(clear)
