"""Virtual cards for tests: content with throw-away keys, and a way to speak to a card in hexadecimal."""

import functools
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from cardd.virtualcard import (
    Activity,
    Card,
    CardContent,
    CardCredential,
    CardHolder,
    CardProfile,
    CardSerial,
    Generation,
    Interface,
    KeyRole,
    MemoryStateStore,
    SoftwareCardKey,
    StateStore,
)
from cardd.virtualcard.faults import Fault, FaultPlan

CHEAP = 2
"""scrypt's N where the strength of the hash is not what is tested."""
SERIAL = CardSerial("28006362")


@functools.cache
def private_key(role: KeyRole) -> rsa.RSAPrivateKey:
    """Return the same key for the same role, for the whole run."""
    assert role in KeyRole
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


@functools.cache
def certificate(role: KeyRole) -> bytes:
    """Return a self-signed certificate of the key of `role`, DER."""
    key = private_key(role)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, role.value)])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=1000))
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def content(
    *,
    serial: str = SERIAL,
    generation: Generation = Generation.CPS3,
    interface: Interface = Interface.CONTACT,
) -> CardContent:
    """Return a physician's card."""
    return CardContent(
        profile=CardProfile(CardSerial(serial), generation=generation, interface=interface),
        credentials=tuple(
            CardCredential(role, certificate(role), SoftwareCardKey(private_key(role))) for role in KeyRole
        ),
        holder=CardHolder(
            family_name="DOC0063",
            given_name="KIT",
            identifier="899700636234",
            profession=10,
            activities={
                1: Activity("10B0073160", "HOPITAL DES 3. DAMES", "salaried"),
                3: Activity("0B0000001", "CABINET", "independent"),
            },
            billing="none",
        ),
        cps_data=b"first value",
    )


class Terminal:
    """Speaks to a card as a driver does."""

    def __init__(self, card: Card) -> None:
        self.card = card

    def send(self, command: str) -> str:
        """Transmit hexadecimal, return hexadecimal in upper case."""
        return self.card.transmit(bytes.fromhex(command)).hex().upper()

    def fetch(self, command: str) -> bytes:
        """Transmit a command and GET RESPONSE as often as asked; return the data of an answer that must be 9000."""
        data, answer = b"", self.card.transmit(bytes.fromhex(command))
        while answer[-2] == 0x61:
            data += answer[:-2]
            answer = self.card.transmit(bytes([0x00, 0xC0, 0x00, 0x00, answer[-1]]))
        assert answer[-2:] == b"\x90\x00", answer.hex()
        return data + answer[:-2]

    def login(self) -> None:
        """Present the first PIN, padded."""
        assert self.send("00200001 08 31323334FFFFFFFF") == "9000"


def terminal(
    *faults: Fault, store: StateStore | None = None, card_content: CardContent | None = None
) -> Terminal:
    """Return a terminal with a card in it."""
    card = Card(
        card_content or content(), store or MemoryStateStore(), faults=FaultPlan(faults), code_cost=CHEAP
    )
    return Terminal(card)
