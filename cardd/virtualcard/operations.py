"""Keys at work: the current security environment and the operations it rules (ISO/IEC 7816-8)."""

from dataclasses import dataclass

from cardd.virtualcard import assumptions
from cardd.virtualcard.apdu import StatusError
from cardd.virtualcard.codes import AccessCodes
from cardd.virtualcard.content import CardContent, CardCredential, KeyRole
from cardd.virtualcard.hashing import BLOCK, CardHash
from cardd.virtualcard.pkcs15 import key_reference
from cardd.virtualcard.tlv import Tlv, TlvError
from cardd.virtualcard.wire import SW, Algorithm, OperationTag, Template

_KEY_BYTES = 256
_LONGEST_DIGEST_INFO = _KEY_BYTES - 11
"""RFC 8017 §9.2, step 3."""
_PLAIN_CIPHERTEXT = 0x81
"""Padding indicator before the ciphertext of PSO DECIPHER."""
_COUNTER_BYTES = 8
_HASHES = {
    Algorithm.HASH_SHA1: CardHash.SHA1,
    Algorithm.SIGN_SHA1: CardHash.SHA1,
    Algorithm.HASH_SHA256: CardHash.SHA256,
    Algorithm.SIGN_SHA256: CardHash.SHA256,
}


@dataclass(frozen=True)
class _Setting:
    """What MSE SET said for one template."""

    algorithm: int | None
    role: KeyRole | None


class Operations:
    """The security environment of one session with the card."""

    def __init__(self, content: CardContent, codes: AccessCodes) -> None:
        self._credentials = {key_reference(each.role): each for each in content.credentials}
        self._codes = codes
        self._settings: dict[Template, _Setting] = {}
        self._digest: bytes | None = None

    def reset(self) -> None:
        """Forget what was set and hashed."""
        self._settings.clear()
        self._digest = None

    def set_environment(self, template: int, data: bytes) -> None:
        """MSE SET: objects in any order, unknown ones passed over.

        Raises:
            StatusError: 6A86 unknown template, 6A80 not TLV, 6A88 unknown key.
        """
        if template not in list(Template):
            raise StatusError(SW.WRONG_P1_P2)
        algorithm: int | None = None
        role: KeyRole | None = None
        for each in _objects(data):
            number = int.from_bytes(each.value, "big")
            match each.tag:
                case OperationTag.ALGORITHM_OR_LAST_BLOCK:
                    algorithm = number
                case OperationTag.KEY_REFERENCE_PRIVATE | OperationTag.KEY_REFERENCE_PUBLIC:
                    if number not in self._credentials:
                        raise StatusError(SW.REFERENCE_NOT_FOUND)
                    role = self._credentials[number].role
        self._settings[Template(template)] = _Setting(algorithm, role)

    def internal_authenticate(self, digest_info: bytes) -> bytes:
        """Return the PKCS#1 v1.5 signature of a DigestInfo made by the caller.

        Raises:
            StatusError: 6985 no fitting key set, 6982 PIN not presented, 6A80 too long.
        """
        setting = self._setting(Template.AUTHENTICATION)
        if setting.algorithm not in (None, Algorithm.RSA_PKCS):
            raise StatusError(SW.CONDITIONS_NOT_SATISFIED)
        credential = self._usable(setting, KeyRole.AUTHENTICATION, KeyRole.TECHNICAL)
        if not 0 < len(digest_info) <= _LONGEST_DIGEST_INFO:
            raise StatusError(SW.WRONG_DATA)
        return credential.key.sign(digest_info)

    def decipher(self, cryptogram: bytes) -> bytes:
        """Return the plaintext of `cryptogram`: 81, then one block as long as the modulus.

        Raises:
            StatusError: 6985 no fitting key set, 6982 PIN not presented, 6A80 not a cryptogram of this key.
        """
        setting = self._setting(Template.CONFIDENTIALITY)
        if setting.algorithm != Algorithm.DECIPHER_RSA_PKCS:
            raise StatusError(SW.CONDITIONS_NOT_SATISFIED)
        credential = self._usable(setting, KeyRole.AUTHENTICATION)
        if len(cryptogram) != 1 + _KEY_BYTES or cryptogram[0] != _PLAIN_CIPHERTEXT:
            raise StatusError(SW.WRONG_DATA)
        plaintext = credential.key.decipher(cryptogram[1:])
        if plaintext is None:
            raise StatusError(SW.WRONG_DATA)
        return plaintext

    def hash(self, data: bytes) -> None:
        """PSO HASH: keep the digest of a short message, of a message whose last block is given, or as given.

        Raises:
            StatusError: 6985 no hash algorithm set, 6A80 objects that make no sense.
        """
        self._digest = None
        card_hash = self._hash_algorithm(Template.HASH)
        objects = {each.tag: each.value for each in _objects(data)}
        state = objects.get(OperationTag.HASH_STATE, b"")
        last = objects.get(OperationTag.ALGORITHM_OR_LAST_BLOCK)
        if last is None and len(state) == card_hash.size:
            self._digest = state
        elif last is not None and len(last) <= BLOCK:
            self._digest = _finish(card_hash, state, last)
        else:
            raise StatusError(SW.WRONG_DATA)

    def compute_signature(self, digest: bytes) -> bytes:
        """Return the signature of `digest`, or of what PSO HASH left when it is empty; the card adds the DigestInfo.

        Raises:
            StatusError: 6985 no fitting key or digest, 6982 PIN not presented, 6A80 digest of another length.
        """
        card_hash = self._hash_algorithm(Template.DIGITAL_SIGNATURE)
        credential = self._usable(self._setting(Template.DIGITAL_SIGNATURE), KeyRole.SIGNATURE)
        if not digest:
            if self._digest is None:
                raise StatusError(SW.CONDITIONS_NOT_SATISFIED)
            digest, self._digest = self._digest, None
        if len(digest) != card_hash.size:
            raise StatusError(SW.WRONG_DATA)
        signature = credential.key.sign(card_hash.digest_info(digest))
        if assumptions.SIGNATURE_NEEDS_A_VERIFY_EACH_TIME:
            self._codes.log_out()
        return signature

    def _setting(self, template: Template) -> _Setting:
        setting = self._settings.get(template)
        if setting is None:
            raise StatusError(SW.CONDITIONS_NOT_SATISFIED)
        return setting

    def _hash_algorithm(self, template: Template) -> CardHash:
        algorithm = self._setting(template).algorithm
        card_hash = next((each for number, each in _HASHES.items() if number == algorithm), None)
        if card_hash is None:
            raise StatusError(SW.CONDITIONS_NOT_SATISFIED)
        return card_hash

    def _usable(self, setting: _Setting, *roles: KeyRole) -> CardCredential:
        if setting.role not in roles:
            raise StatusError(SW.CONDITIONS_NOT_SATISFIED)
        if setting.role.needs_login and not self._codes.is_verified:
            raise StatusError(SW.SECURITY_STATUS_NOT_SATISFIED)
        return self._credentials[key_reference(setting.role)]


def _objects(data: bytes) -> list[Tlv]:
    try:
        return Tlv.parse_all(data)
    except TlvError as error:
        raise StatusError(SW.WRONG_DATA) from error


def _finish(card_hash: CardHash, state: bytes, last: bytes) -> bytes:
    """Hash `last` from `state` (an intermediate value and the bits that led to it), or from the start when empty."""
    if not state:
        return card_hash.whole(last)
    value, counter = state[: card_hash.size], state[card_hash.size :]
    bits = int.from_bytes(counter, "big")
    if len(counter) != _COUNTER_BYTES or bits % (8 * BLOCK):
        raise StatusError(SW.WRONG_DATA)
    return card_hash.finish(value, bits, last)
