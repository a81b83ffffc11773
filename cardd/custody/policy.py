"""What a key must be to count as one that cannot be duplicated: the templates asked for and the evidence demanded.

A policy is data. The template is what C_GenerateKeyPair is given (PKCS#11 v2.40 §4.9, §5.13); the evidence is what
the token must say of the key when it is read back, since some modules take a template and do otherwise:

* CKA_LOCAL, CKA_KEY_GEN_MECHANISM: the key was made on the token (§4.7.2, table 21).
* CKA_SENSITIVE and CKA_ALWAYS_SENSITIVE, CKA_EXTRACTABLE and CKA_NEVER_EXTRACTABLE: its value never left, and never
  could have (§4.9, table 27).
* CKA_COPYABLE false: no copy under other attributes can be made (§4.4.1; the default is true).
* CKA_MODIFIABLE false, and neither wrapping, unwrapping, derivation nor signing with recovery.
* Exactly the operations of its use, so that one key never serves two purposes by accident.
"""

from enum import StrEnum, unique
from typing import NamedTuple

import msgspec

from cardd_pkcs11.types import CustodyLevel, KeyAttributes, KeyTemplate

__all__ = [
    "CustodyLevel",
    "CustodyPolicy",
    "Evidence",
    "KeyUse",
    "Weakness",
    "check_attributes",
    "policy_for",
]


@unique
class KeyUse(StrEnum):
    """What a private key is for."""

    SIGN = "sign"
    DECRYPT = "decrypt"
    SIGN_AND_DECRYPT = "sign_and_decrypt"


class Evidence(NamedTuple):
    """One attribute's demanded value; where the module does not know the attribute, `optional` decides."""

    attribute: str
    value: bool
    optional: bool = False


class Weakness(NamedTuple):
    """One attribute in which a key falls short; `found` is None where the token does not say."""

    attribute: str
    wanted: bool
    found: bool | None


class CustodyPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask for and what to demand back."""

    use: KeyUse
    template: KeyTemplate
    evidence: tuple[Evidence, ...]


_HELD = (
    Evidence("token", value=True),
    Evidence("private", value=True),
    Evidence("local", value=True),
    Evidence("sensitive", value=True),
    Evidence("always_sensitive", value=True),
    Evidence("extractable", value=False),
    Evidence("never_extractable", value=True),
    Evidence("copyable", value=False),
    Evidence("modifiable", value=False),
    Evidence("unwrap", value=False),
    Evidence("derive", value=False),
    Evidence("sign_recover", value=False, optional=True),
    # Private keys have no CKA_WRAP in the standard; a module that answers must say no.
    Evidence("wrap", value=False, optional=True),
)


def _policy(use: KeyUse) -> CustodyPolicy:
    sign = use is not KeyUse.DECRYPT
    decrypt = use is not KeyUse.SIGN
    return CustodyPolicy(
        use=use,
        template=KeyTemplate(sign=sign, decrypt=decrypt),
        evidence=(*_HELD, Evidence("sign", value=sign), Evidence("decrypt", value=decrypt)),
    )


_POLICIES = {use: _policy(use) for use in KeyUse}


def policy_for(use: KeyUse) -> CustodyPolicy:
    """Return the policy of keys of that use."""
    return _POLICIES[use]


def check_attributes(attributes: KeyAttributes, policy: CustodyPolicy) -> list[Weakness]:
    """Compare what a token says of a key with the policy; an empty list means that the key is held as demanded."""
    weaknesses = []
    for evidence in policy.evidence:
        found: bool | None = getattr(attributes, evidence.attribute)
        if found is None and evidence.optional:
            continue
        if found is not evidence.value:
            weaknesses.append(Weakness(evidence.attribute, evidence.value, found))
    return weaknesses
