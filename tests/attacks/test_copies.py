"""Every copy path that a person would try on a software token, and what becomes of it.

The attacker may read the token's files and knows its PIN. Nothing that goes through PKCS#11 or looks into files gets
the key; a token taken as a whole works elsewhere, which no software token can prevent.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cardd_pkcs11.types import CustodyLevel, Spki
from tests.attacks.attempts import ATTEMPTS
from tests.attacks.harness import Attempt, Became, Line, Target, carried_out, failures, report
from tests.support.softhsm import require_tool


def test_the_key_is_got_only_with_the_whole_token(
    fresh: Callable[[], Target], capsys: pytest.CaptureFixture[str]
) -> None:
    for tool in ("softhsm2-util", "pkcs11-tool", "openssl"):
        require_tool(tool)
    lines = carried_out(ATTEMPTS, fresh)
    with capsys.disabled():
        print(f"\n{report(lines)}")
    assert len(lines) >= 15
    copied = {line.attempt.name for line in lines if line.became.copied}
    assert copied == {attempt.name for attempt in ATTEMPTS if attempt.whole_token}


def test_a_copy_must_be_noticed_on_software_and_not_happen_on_hardware() -> None:
    copied = Became(copied=True, detail="")
    attempt = Attempt(name="copy", tool="cp", take=lambda _: copied)
    seen, unseen = Line(attempt, copied, "alarm"), Line(attempt, copied, None)
    assert failures([seen], CustodyLevel.SOFTWARE) == []
    assert failures([unseen], CustodyLevel.SOFTWARE) == ["cp: copy"]
    assert failures([seen], CustodyLevel.HARDWARE) == ["cp: copy"]


def test_a_key_in_the_clear_or_a_signature_would_be_found(fresh: Callable[[], Target]) -> None:
    """So that a refusal above is not a mistake of what looks for the key."""
    target = fresh()
    assert target.signs(target.environment)
    assert not target.signs(target.environment, pin="wrong-pin")
    known = rsa.generate_private_key(65537, 2048)
    spki = Spki(known.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    clear = known.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    assert replace(target, rsa_spki=spki).reveals(clear)
    assert not target.reveals(clear)
