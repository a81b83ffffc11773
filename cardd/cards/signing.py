"""What may be asked of a card's key, and how it reaches the module: mechanisms, digests, capabilities."""

import hashlib
from typing import NamedTuple

import msgspec

from cardd.cards.errors import CardMechanismUnavailableError
from cardd.cards.modules import modules_that_could
from cardd.cards.types import Capability, CardRole, SignRequest
from cardd.errors import FieldProblem, InvalidFieldsError
from cardd.text import Text
from cardd_pkcs11.types import DecryptMechanism, SignMechanism

#: DER of DigestInfo up to the digest (RFC 8017 §9.2, note 1), by the digest's length in bytes.
DIGEST_INFO = {
    32: bytes.fromhex("3031300d060960864801650304020105000420"),
    48: bytes.fromhex("3041300d060960864801650304020205000430"),
    64: bytes.fromhex("3051300d060960864801650304020305000440"),
}
#: Mechanisms that hash with SHA-2 and sign a DigestInfo, by the length of their digest.
_HASHING = {
    SignMechanism.SHA256_RSA_PKCS: 32,
    SignMechanism.SHA384_RSA_PKCS: 48,
    SignMechanism.SHA512_RSA_PKCS: 64,
}
#: Most bytes that RSASSA-PKCS1-v1_5 signs as they are: the modulus of a card's key less the padding (RFC 8017 §9.2).
_RAW_LIMIT = 2048 // 8 - 11


class Signable(NamedTuple):
    """What goes to the module."""

    mechanism: SignMechanism
    data: bytes


def prepare(request: SignRequest) -> Signable:
    """Turn a request into what the module is asked for; a digest is signed as a DigestInfo with `rsa_pkcs`.

    Raises:
        InvalidFieldsError: the mechanism is not known, or data and digest do not fit it.
    """
    mechanism = _mechanism(request.mechanism)
    if request.data is not None and request.digest is None:
        if mechanism is SignMechanism.RSA_PKCS and len(request.data) > _RAW_LIMIT:
            raise _invalid(
                "data",
                f"must have at most {_RAW_LIMIT} bytes with rsa_pkcs, which does not hash",
                f"doit avoir au plus {_RAW_LIMIT} octets avec rsa_pkcs, qui ne hache pas",
            )
        return Signable(mechanism, request.data)
    if request.digest is None or request.data is not None:
        raise _invalid("data", "give exactly one of data and digest", "donnez soit data, soit digest")
    if mechanism is not SignMechanism.RSA_PKCS and mechanism not in _HASHING:
        raise _invalid(
            "digest",
            f"cannot be used with {mechanism.value}: send data",
            f"est impossible avec {mechanism.value} : envoyez data",
        )
    lengths = [_HASHING[mechanism]] if mechanism in _HASHING else sorted(DIGEST_INFO)
    if len(request.digest) not in lengths:
        shown = ", ".join(map(str, lengths))
        raise _invalid("digest", f"must have {shown} bytes", f"doit avoir {shown} octets")
    return Signable(SignMechanism.RSA_PKCS, DIGEST_INFO[len(request.digest)] + request.digest)


def offered(capabilities: tuple[Capability, ...]) -> tuple[Capability, ...]:
    """Return what the daemon offers with keys that can do `capabilities`: SHA-256 also where it hashes itself."""
    return tuple(map(_with_hashing, capabilities))


def for_module(asked: Signable, capabilities: tuple[Capability, ...], role: CardRole) -> Signable:
    """Return what the module is asked for: a DigestInfo made here where it does not hash (RFC 8017 §9.2)."""
    able = {
        mechanism
        for capability in capabilities
        if capability.role is role and capability.operation == "sign"
        for mechanism in capability.mechanisms
    }
    if asked.mechanism is not SignMechanism.SHA256_RSA_PKCS or asked.mechanism in able:
        return asked
    if SignMechanism.RSA_PKCS not in able:
        return asked
    digest = hashlib.sha256(asked.data).digest()
    return Signable(SignMechanism.RSA_PKCS, DIGEST_INFO[len(digest)] + digest)


def _with_hashing(capability: Capability) -> Capability:
    hashing = SignMechanism.SHA256_RSA_PKCS.value
    able = capability.mechanisms
    if capability.operation != "sign" or SignMechanism.RSA_PKCS.value not in able or hashing in able:
        return capability
    return msgspec.structs.replace(capability, mechanisms=(*able, hashing))


def check_capability(
    capabilities: tuple[Capability, ...], role: CardRole, operation: str, mechanism: str, *, module: str
) -> None:
    """Refuse what a key cannot do through its module.

    Raises:
        CardMechanismUnavailableError: with the modules that could, for a real card.
    """
    for capability in capabilities:
        if (
            capability.role is role
            and capability.operation == operation
            and mechanism in capability.mechanisms
        ):
            return
    raise unavailable(role, mechanism, module=module)


def unavailable(role: CardRole, mechanism: str, *, module: str) -> CardMechanismUnavailableError:
    """Make the error of a key that cannot do something through `module`."""
    could = sorted(modules_that_could(role.value, mechanism, other_than=module))
    others = f"; with a real card, {', '.join(could)} can" if could else ""
    autres = f" ; avec une vraie carte, {', '.join(could)} le peut" if could else ""
    return CardMechanismUnavailableError(
        Text(
            f"The {role.value} key cannot do {mechanism} through {module}{others}.",
            f"La clé {role.value} ne peut pas faire {mechanism} avec {module}{autres}.",
        ),
        mechanism=mechanism,
        role=role.value,
        module=module,
        modules_that_could=could,
    )


def decrypt_mechanism(name: str) -> DecryptMechanism:
    """Parse the name of a decryption mechanism.

    Raises:
        InvalidFieldsError: it is not known.
    """
    try:
        return DecryptMechanism(name)
    except ValueError:
        raise _unknown(sorted(DecryptMechanism)) from None


def _mechanism(name: str) -> SignMechanism:
    try:
        return SignMechanism(name)
    except ValueError:
        raise _unknown(sorted(SignMechanism)) from None


def _unknown(known: list[SignMechanism] | list[DecryptMechanism]) -> InvalidFieldsError:
    names = ", ".join(known)
    return _invalid("mechanism", f"must be one of {names}", f"doit être parmi {names}")


def _invalid(field: str, english: str, french: str) -> InvalidFieldsError:
    return InvalidFieldsError([FieldProblem(field, Text(english, french))])
