"""The values that callers and token hosts exchange: names of keys and tokens, templates, what was found.

Enums carry the field's names; where a value has an encoding, the type says which.
"""

from enum import StrEnum, unique
from typing import NewType

import msgspec

#: Serial of a token as Cryptoki gives it (CK_TOKEN_INFO.serialNumber, trailing blanks removed).
TokenSerial = NewType("TokenSerial", str)

#: CKA_ID shared by a private key, its public key and its certificate.
KeyId = NewType("KeyId", bytes)

#: A DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
Spki = NewType("Spki", bytes)


class Secret:
    """A PIN. It never shows itself: `str` and `repr` give `***`; `reveal` is the only way to its value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the value, for the one place that hands it to the module or to its file."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._value == other._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str | tuple[object, ...]:
        raise TypeError("a Secret cannot be pickled")


@unique
class KeyAlgorithm(StrEnum):
    """Algorithms and sizes of the key pairs that tokens make."""

    RSA_2048 = "rsa_2048"
    RSA_3072 = "rsa_3072"
    RSA_4096 = "rsa_4096"
    EC_P256 = "ec_p256"
    EC_P384 = "ec_p384"

    @property
    def is_rsa(self) -> bool:
        """Tell RSA from elliptic curves."""
        return self in _RSA_BITS

    @property
    def bits(self) -> int:
        """Size of the modulus, or of the curve's field."""
        return _RSA_BITS.get(self) or _EC_BITS[self]


_RSA_BITS = {KeyAlgorithm.RSA_2048: 2048, KeyAlgorithm.RSA_3072: 3072, KeyAlgorithm.RSA_4096: 4096}
_EC_BITS = {KeyAlgorithm.EC_P256: 256, KeyAlgorithm.EC_P384: 384}


@unique
class SignMechanism(StrEnum):
    """How `sign` treats its data, named after the Cryptoki mechanisms (PKCS#11 v2.40 §2.1, §2.3).

    ECDSA signatures are handed out as DER `Ecdsa-Sig-Value` (RFC 3279 §2.2.3), never as r‖s.
    """

    #: RSASSA-PKCS1-v1_5 over a DigestInfo made by the caller.
    RSA_PKCS = "rsa_pkcs"
    SHA256_RSA_PKCS = "sha256_rsa_pkcs"
    SHA384_RSA_PKCS = "sha384_rsa_pkcs"
    SHA512_RSA_PKCS = "sha512_rsa_pkcs"
    #: RSASSA-PSS, MGF1 with SHA-256, a salt of 32 bytes.
    SHA256_RSA_PSS = "sha256_rsa_pss"
    #: ECDSA over a message, hashed by the host.
    ECDSA_SHA256 = "ecdsa_sha256"
    ECDSA_SHA384 = "ecdsa_sha384"
    #: ECDSA over a digest of 32, 48 or 64 bytes made by the caller.
    ECDSA = "ecdsa"


@unique
class DecryptMechanism(StrEnum):
    """How `decrypt` treats its ciphertext (RFC 8017 §7)."""

    RSA_PKCS = "rsa_pkcs"
    RSA_OAEP_SHA1 = "rsa_oaep_sha1"
    RSA_OAEP_SHA256 = "rsa_oaep_sha256"


@unique
class ObjectKind(StrEnum):
    """Classes of objects that a token holds for us (PKCS#11 v2.40 §4.2)."""

    PRIVATE_KEY = "private_key"
    PUBLIC_KEY = "public_key"
    CERTIFICATE = "certificate"
    DATA = "data"


@unique
class CustodyLevel(StrEnum):
    """What keeps a key from being duplicated; never promise more than the level holds."""

    #: Held by software: the machine's administrator can copy it; copies are detected.
    SOFTWARE = "software"
    #: Sealed to this machine.
    MACHINE_BOUND = "machine-bound"
    #: Inside a TPM or a card.
    HARDWARE = "hardware"


class KeyTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """Attributes asked for when a private key is made (PKCS#11 v2.40 §4.9).

    Wrapping, unwrapping, derivation and signing with recovery are always refused and cannot be asked for.
    """

    sign: bool
    decrypt: bool
    private: bool = True
    sensitive: bool = True
    extractable: bool = False
    copyable: bool = False
    modifiable: bool = False


class KeyAttributes(msgspec.Struct, frozen=True, kw_only=True):
    """A private key's attributes as the token states them; None where the module does not know one."""

    token: bool | None
    private: bool | None
    local: bool | None
    sensitive: bool | None
    always_sensitive: bool | None
    extractable: bool | None
    never_extractable: bool | None
    copyable: bool | None
    modifiable: bool | None
    sign: bool | None
    sign_recover: bool | None
    decrypt: bool | None
    wrap: bool | None
    unwrap: bool | None
    derive: bool | None
    #: Name of the mechanism that made the key, such as `RSA_PKCS_KEY_PAIR_GEN`.
    key_gen_mechanism: str | None


class PinFlags(msgspec.Struct, frozen=True):
    """What a token says of its user PIN (CK_TOKEN_INFO.flags)."""

    initialised: bool
    count_low: bool
    final_try: bool
    locked: bool


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One token, as read from its slot just now."""

    serial: TokenSerial
    label: str
    manufacturer: str
    model: str
    initialised: bool
    write_protected: bool
    login_required: bool
    protected_authentication_path: bool
    user_pin: PinFlags
    #: Whether the answering host holds a login on this token.
    logged_in: bool


class ObjectInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One object on a token."""

    kind: ObjectKind
    label: str
    key_id: KeyId | None
    private: bool | None
    #: CKA_APPLICATION of a data object.
    application: str | None
    #: DER of a certificate; None for every other kind.
    certificate: bytes | None


class KeyCapabilities(msgspec.Struct, frozen=True):
    """What one key can do through this module: asked for, never assumed."""

    sign: tuple[SignMechanism, ...]
    decrypt: tuple[DecryptMechanism, ...]


class ModuleInfo(msgspec.Struct, frozen=True):
    """The module that a host has loaded."""

    path: str
    manufacturer: str
    description: str
    library_version: str
    cryptoki_version: str
