"""What a virtual card is made of: its profile, its certificates and keys, its data objects."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, Protocol

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import NoDigestInfo

CardSerial = NewType("CardSerial", str)
"""The eight digits of EF.SN."""

KEY_BITS = 2048
ACTIVITY_NUMBERS = range(1, 17)


class CardType(Enum):
    """Who holds the card."""

    CPS = "CPS"
    """A health professional."""
    CPE = "CPE"
    """An employee of a health structure."""
    CPA = "CPA"
    """A member of an authorised body."""


class Generation(Enum):
    """The card's model; only a CPS3 answers commands, the others are there to be recognised by their ATR."""

    CPS2TER = "CPS2ter"
    CPS3 = "CPS3"
    CPS4 = "CPS4"


class Interface(Enum):
    """How the card meets its reader."""

    CONTACT = "contact"
    CONTACTLESS = "contactless"


class KeyRole(Enum):
    """What a key is for, and its PKCS#11 label."""

    AUTHENTICATION = "CPS_PRIV_AUT"
    SIGNATURE = "CPS_PRIV_SIG"
    TECHNICAL = "CPS_PRIV_TECH_AUT"
    """Contactless authentication, without PIN."""

    @property
    def needs_login(self) -> bool:
        """Whether the key answers only after the PIN."""
        return self is not KeyRole.TECHNICAL


class CardKey(Protocol):
    """A 2048-bit RSA private key that works for the card; it may block, for a thread calls it."""

    @property
    def public_numbers(self) -> rsa.RSAPublicNumbers:
        """The public key."""
        ...

    def sign(self, digest_info: bytes) -> bytes:
        """Return the signature of `digest_info`, padded as RFC 8017 §8.2.1 says, as long as the modulus."""
        ...

    def decipher(self, ciphertext: bytes) -> bytes | None:
        """Return the plaintext without its RFC 8017 §7.2 padding, or None when it cannot be deciphered."""
        ...


class SoftwareCardKey:
    """A key in this process's memory."""

    def __init__(self, private_key: rsa.RSAPrivateKey) -> None:
        if private_key.key_size != KEY_BITS:
            raise ValueError("a CPS3 holds RSA keys of 2048 bits")
        self._private_key = private_key

    @classmethod
    def from_pem(cls, pem: bytes) -> "SoftwareCardKey":
        """Load an unencrypted PEM private key.

        Raises:
            ValueError: not an RSA key of 2048 bits.
        """
        private_key = serialization.load_pem_private_key(pem, password=None)
        if not isinstance(private_key, rsa.RSAPrivateKey):
            raise ValueError("a CPS3 holds RSA keys of 2048 bits")  # noqa: TRY004 - the content is wrong, not its type
        return cls(private_key)

    @property
    def public_numbers(self) -> rsa.RSAPublicNumbers:
        """The public key."""
        return self._private_key.public_key().public_numbers()

    def sign(self, digest_info: bytes) -> bytes:
        """See `CardKey.sign`."""
        return self._private_key.sign(digest_info, padding.PKCS1v15(), NoDigestInfo())

    def decipher(self, ciphertext: bytes) -> bytes | None:
        """See `CardKey.decipher`."""
        try:
            return self._private_key.decrypt(ciphertext, padding.PKCS1v15())
        except ValueError:
            return None


@dataclass(frozen=True)
class Labels:
    """The names that PKCS#11 shows; these are the published ones, whatever the card's type."""

    authentication_certificate: str = "Certificat d'Authentification CPS"
    signature_certificate: str = "Certificat de Signature CPS"
    technical_certificate: str = "Certificat Technique CPS"
    pin: str = "Code porteur de la carte CPX"

    def certificate(self, role: KeyRole) -> str:
        """Return the label of the certificate of `role`."""
        return {
            KeyRole.AUTHENTICATION: self.authentication_certificate,
            KeyRole.SIGNATURE: self.signature_certificate,
            KeyRole.TECHNICAL: self.technical_certificate,
        }[role]


@dataclass(frozen=True)
class CardProfile:
    """What tells a card from another before its certificates are read."""

    serial: CardSerial
    """Eight digits."""
    card_type: CardType = CardType.CPS
    issuer: str = "8025000001"
    """Ten digits: 80, country 250, issuer 00001."""
    generation: Generation = Generation.CPS3
    interface: Interface = Interface.CONTACT
    labels: Labels = field(default_factory=Labels)

    def __post_init__(self) -> None:
        """Refuse numbers of another form."""
        for name, number, digits in (("serial", self.serial, 8), ("issuer", self.issuer, 10)):
            if len(number) != digits or not (number.isascii() and number.isdigit()):
                raise ValueError(f"{name} must have {digits} digits")

    @property
    def serial_number(self) -> bytes:
        """Issuer and serial in BCD, then the Luhn digit and F: ten bytes, the value of EF.SN."""
        number = self.issuer + self.serial
        return bytes.fromhex(f"{number}{luhn_digit(number)}F")


@dataclass(frozen=True)
class CardCredential:
    """A certificate and the key it belongs to."""

    role: KeyRole
    certificate: bytes
    """DER."""
    key: CardKey = field(repr=False)


@dataclass(frozen=True)
class Activity:
    """One activity of the holder: where and as what."""

    structure_id: str
    """Prefix and number, as in the certificate's OU."""
    structure_name: str
    role: str


@dataclass(frozen=True)
class CardHolder:
    """The person, as the data objects tell."""

    family_name: str
    given_name: str
    identifier: str
    """Prefix and number, as in the certificate's CN."""
    profession: int | None = None
    """Code of the profession (10 physician, 21 pharmacist…), None for a CPE or CPA."""
    languages: tuple[str, ...] = ("fr",)
    activities: Mapping[int, Activity] = field(default_factory=dict)
    """By number, 1 to 16; gaps are usual."""
    billing: str = ""
    """CPS_SIT_FACT."""

    def __post_init__(self) -> None:
        """Refuse numbers that no card has."""
        if not set(self.activities) <= set(ACTIVITY_NUMBERS):
            raise ValueError("activities are numbered 1 to 16")


@dataclass(frozen=True)
class CardContent:
    """Everything that is written on a card at its making."""

    profile: CardProfile
    credentials: tuple[CardCredential, ...]
    holder: CardHolder
    first_pin: str = field(default="1234", repr=False)
    """Four to eight digits; in force until the card's state holds another."""
    first_puk: str = field(default="12345678", repr=False)
    """Four to eight digits, for RESET RETRY COUNTER."""
    cps_data: bytes = b""
    """CPS_DATA at the making; the holder's software may change it later."""

    def __post_init__(self) -> None:
        """Refuse codes that the card could not store and keys that share a role."""
        for code in (self.first_pin, self.first_puk):
            if not (4 <= len(code) <= 8 and code.isascii() and code.isdigit()):
                raise ValueError("codes have four to eight digits")
        roles = [credential.role for credential in self.credentials]
        if len(set(roles)) != len(roles):
            raise ValueError("one key for each role")

    def credential(self, role: KeyRole) -> CardCredential | None:
        """Return the certificate and key of `role`, if the card has them."""
        return next((each for each in self.credentials if each.role is role), None)


def luhn_digit(number: str) -> int:
    """Return the check digit of a string of decimal digits (ISO/IEC 7812-1, annex B)."""
    total = 0
    for position, digit in enumerate(map(int, reversed(number))):
        doubled = digit * 2 if position % 2 == 0 else digit
        total += doubled - 9 if doubled > 9 else doubled
    return -total % 10
