"""The custody policy and the comparison with what a token says."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cardd.custody.policy import KeyUse, Weakness, check_attributes, policy_for
from cardd_pkcs11.types import KeyAttributes

HELD = KeyAttributes(
    token=True, private=True, local=True, sensitive=True, always_sensitive=True, extractable=False,
    never_extractable=True, copyable=False, modifiable=False, sign=True, sign_recover=False, decrypt=False,
    wrap=None, unwrap=False, derive=False, key_gen_mechanism="RSA_PKCS_KEY_PAIR_GEN",
)  # fmt: skip
SIGNING = policy_for(KeyUse.SIGN)
JUDGED = [evidence.attribute for evidence in SIGNING.evidence]


def test_a_key_held_as_demanded_has_no_weakness() -> None:
    assert check_attributes(HELD, SIGNING) == []


@pytest.mark.parametrize("attribute", JUDGED)
def test_every_attribute_that_differs_is_named(attribute: str) -> None:
    wanted = next(evidence.value for evidence in SIGNING.evidence if evidence.attribute == attribute)
    weaker = msgspec.structs.replace(HELD, **{attribute: not wanted})
    assert check_attributes(weaker, SIGNING) == [Weakness(attribute, wanted, not wanted)]


@given(st.sampled_from(JUDGED))
def test_silence_is_a_weakness_unless_the_standard_lacks_the_attribute(attribute: str) -> None:
    silent = msgspec.structs.replace(HELD, **{attribute: None})
    weaknesses = [weakness.attribute for weakness in check_attributes(silent, SIGNING)]
    assert weaknesses == ([] if attribute in ("wrap", "sign_recover") else [attribute])


@pytest.mark.parametrize(
    ("use", "sign", "decrypt"),
    [(KeyUse.SIGN, True, False), (KeyUse.DECRYPT, False, True), (KeyUse.SIGN_AND_DECRYPT, True, True)],
)
def test_a_key_has_exactly_the_operations_of_its_use(use: KeyUse, *, sign: bool, decrypt: bool) -> None:
    template = policy_for(use).template
    assert (template.sign, template.decrypt) == (sign, decrypt)
    assert (template.extractable, template.copyable, template.modifiable) == (False, False, False)
    attributes = msgspec.structs.replace(HELD, sign=sign, decrypt=decrypt)
    assert check_attributes(attributes, policy_for(use)) == []
