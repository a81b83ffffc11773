"""Secure data objects as GET DATA shows them: the PIN with its live counter, keys, security environments."""

from cardd.virtualcard import assumptions
from cardd.virtualcard.apdu import StatusError
from cardd.virtualcard.codes import AccessCodes
from cardd.virtualcard.content import CardContent, CardCredential, KeyRole
from cardd.virtualcard.pkcs15 import key_reference
from cardd.virtualcard.state import PIN_TRIES
from cardd.virtualcard.tlv import Tlv, TlvError, read_tag
from cardd.virtualcard.wire import (
    PIN_MINIMUM_LENGTH,
    PIN_STORED_LENGTH,
    SW,
    CodeReference,
    KeyTag,
    OperationTag,
    SdoClass,
    Tag,
    Template,
)

_PIN_ACCESS = bytes.fromhex("F3000013FF00")
_CODES = {
    CodeReference.PIN: (PIN_TRIES, _PIN_ACCESS),
    CodeReference.PUK: (assumptions.PUK_TRIES, assumptions.PUK_ACCESS),
}
"""Maximum of tries and access rules."""
_ENVIRONMENTS = {1: CodeReference.PIN, assumptions.PUK_SECURITY_ENVIRONMENT: CodeReference.PUK}
_AUTHENTICATION_KEY_ACCESS = bytes.fromhex("B31111FF00")
_KEY_SIZE = bytes.fromhex("0100")
_USER_AUTHENTICATION = 0x08
"""Usage qualifier of a password in a security environment (ISO/IEC 7816-4, table 57)."""
_KEY_ALGORITHM_TAG = 0x9E


class SecureObjects:
    """Answers GET DATA."""

    def __init__(self, content: CardContent, codes: AccessCodes) -> None:
        self._codes = codes
        self._credentials = {key_reference(each.role) & 0x7F: each for each in content.credentials}

    def get_data(self, request: bytes) -> bytes:
        """Answer `4D len 70 len BF class reference len (tag 80)…` with `70 len BF … len content`.

        Raises:
            StatusError: 6A80 a malformed request or a part that is never shown, 6A88 no such object.
        """
        try:
            wrapper = Tlv.parse_one(Tlv.parse_one(request, Tag.EXTENDED_HEADER_LIST).value, Tag.SDO_WRAPPER)
            (header,) = Tlv.parse_all(wrapper.value)
            wanted = _wanted_tags(header.value)
        except (TlvError, ValueError) as error:
            raise StatusError(SW.WRONG_DATA) from error
        parts = self._parts(header.tag)
        if not all(tag in parts for tag in wanted):
            raise StatusError(SW.WRONG_DATA)
        return Tlv(Tag.SDO_WRAPPER, Tlv(header.tag, *(parts[tag] for tag in wanted)))

    def _parts(self, tag: int) -> dict[int, bytes]:
        """Return the parts of the object `tag` that may be read, by their own tags."""
        reference = tag & 0x7F
        if tag == SdoClass.PIN.tag(reference) and reference in list(CodeReference):
            return self._code(CodeReference(reference))
        if tag == SdoClass.SECURITY_ENVIRONMENT.tag(reference) and reference in _ENVIRONMENTS:
            return {Tag.SECURITY_ENVIRONMENT: _security_environment(_ENVIRONMENTS[reference])}
        credential = self._credentials.get(reference)
        if credential is not None and tag == SdoClass.PRIVATE_KEY.tag(reference):
            return {Tag.SDO_PARAMETERS: _private_key(credential.role)}
        if credential is not None and tag == SdoClass.PUBLIC_KEY.tag(reference):
            return {Tag.PUBLIC_KEY_VALUE: _public_key(credential)}
        raise StatusError(SW.REFERENCE_NOT_FOUND)

    def _code(self, reference: CodeReference) -> dict[int, bytes]:
        tries, access = _CODES[reference]
        return {
            Tag.PIN_ATTRIBUTES: Tlv(
                Tag.PIN_ATTRIBUTES,
                Tlv(KeyTag.PIN_STORED_LENGTH, bytes([PIN_STORED_LENGTH])),
                Tlv(KeyTag.MODULUS_OR_PIN_MINIMUM, bytes([PIN_MINIMUM_LENGTH])),
            ),
            Tag.SDO_PARAMETERS: Tlv(
                Tag.SDO_PARAMETERS,
                Tlv(Tag.TRIES_MAX, bytes([tries])),
                Tlv(Tag.TRIES_LEFT, bytes([self._codes.tries_left(reference)])),
                Tlv(Tag.ACCESS_RULES, Tlv(Tag.ACCESS_RULES_CONTACT, access)),
            ),
        }


def _wanted_tags(header_list: bytes) -> list[int]:
    """Return the tags of a list of (tag, length byte); 80 stands for “all of it”."""
    tags = []
    offset = 0
    while offset < len(header_list):
        tag, offset = read_tag(header_list, offset)
        offset += 1
        tags.append(tag)
    if offset != len(header_list) or not tags:
        raise TlvError("a header list of tag and length pairs was expected")
    return tags


def _private_key(role: KeyRole) -> bytes:
    access = {
        KeyRole.AUTHENTICATION: _AUTHENTICATION_KEY_ACCESS,
        KeyRole.SIGNATURE: assumptions.SIGNATURE_KEY_ACCESS,
        KeyRole.TECHNICAL: assumptions.TECHNICAL_KEY_ACCESS,
    }[role]
    return Tlv(
        Tag.SDO_PARAMETERS,
        Tlv(Tag.FILE_SIZE, _KEY_SIZE),
        Tlv(Tag.ACCESS_RULES, Tlv(Tag.ACCESS_RULES_CONTACT, access)),
        Tlv(_KEY_ALGORITHM_TAG, b"\x00"),
    )


def _public_key(credential: CardCredential) -> bytes:
    numbers = credential.key.public_numbers
    return Tlv(
        Tag.PUBLIC_KEY_VALUE,
        Tlv(KeyTag.MODULUS_OR_PIN_MINIMUM, _number(numbers.n)),
        Tlv(KeyTag.EXPONENT, _number(numbers.e)),
    )


def _security_environment(code: CodeReference) -> bytes:
    return Tlv(
        Tag.SECURITY_ENVIRONMENT,
        Tlv(
            Template.AUTHENTICATION,
            Tlv(OperationTag.USAGE_QUALIFIER, bytes([_USER_AUTHENTICATION])),
            Tlv(OperationTag.KEY_REFERENCE_PUBLIC, bytes([code])),
        ),
    )


def _number(value: int) -> bytes:
    return value.to_bytes((value.bit_length() + 7) // 8, "big")
