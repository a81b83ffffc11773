"""The PKCS#15 directory files of a CPS3, in DER (ISO/IEC 7816-15; PKCS#15 v1.1 §6)."""

from collections.abc import Iterable
from typing import NamedTuple

from cardd.virtualcard import assumptions
from cardd.virtualcard.content import CardContent, CardCredential, KeyRole, Labels
from cardd.virtualcard.tlv import Tlv
from cardd.virtualcard.wire import (
    PIN_MINIMUM_LENGTH,
    PIN_PADDING,
    PIN_STORED_LENGTH,
    Aid,
    Algorithm,
    CodeReference,
    Fid,
    KeyReference,
)

_AUTH_ID_PIN = b"\x01"
_AUTH_ID_PUK = b"\x02"
_KEY_BITS = 2048


class _SupportedAlgorithm(NamedTuple):
    """An AlgorithmInfo: PKCS#11 mechanism, operations (bit string content), object identifier (DER content)."""

    mechanism: int
    operations: bytes
    oid: bytes
    algorithm: Algorithm


_SIGN, _DECIPHER, _HASH = b"\x06\x40", b"\x02\x04", b"\x01\x02"
_SUPPORTED_ALGORITHMS = (
    _SupportedAlgorithm(0x220, _HASH, bytes.fromhex("2B0E03021A"), Algorithm.HASH_SHA1),
    _SupportedAlgorithm(0x250, _HASH, bytes.fromhex("608648016503040201"), Algorithm.HASH_SHA256),
    _SupportedAlgorithm(0x06, _SIGN, bytes.fromhex("2A864886F70D010105"), Algorithm.SIGN_SHA1),
    _SupportedAlgorithm(0x40, _SIGN, bytes.fromhex("2A864886F70D01010B"), Algorithm.SIGN_SHA256),
    _SupportedAlgorithm(0x01, _SIGN, bytes.fromhex("2A864886F70D010101"), Algorithm.RSA_PKCS),
    _SupportedAlgorithm(0x01, _DECIPHER, bytes.fromhex("2A864886F70D010101"), Algorithm.DECIPHER_RSA_PKCS),
)

#: Bit strings: flags (private, modifiable…) and usage (PKCS#15 v1.1 §6.3.2), content bytes of tag 03.
_PRIVATE_KEY_FLAGS = bytes.fromhex("05E0")
_PRIVATE_KEY_ACCESS = bytes.fromhex("04B0")
_USAGE_SIGN_DECIPHER = bytes.fromhex("0560")
_USAGE_SIGN = bytes.fromhex("0520")
_USAGE_NON_REPUDIATION = bytes.fromhex("060040")
_PIN_OBJECT_FLAGS = bytes.fromhex("06C0")
_PIN_FLAGS = bytes.fromhex("024C")
_PRIVATE_OBJECT = bytes.fromhex("0780")
_MODIFIABLE_OBJECT = bytes.fromhex("0640")
_READ_ONLY_OBJECT = bytes.fromhex("0700")


def key_reference(role: KeyRole) -> int:
    """Return the reference under which commands name the key of `role`."""
    match role:
        case KeyRole.AUTHENTICATION:
            return KeyReference.AUTHENTICATION
        case KeyRole.SIGNATURE:
            return KeyReference.SIGNATURE
        case KeyRole.TECHNICAL:
            return assumptions.TECHNICAL_KEY_REFERENCE


def object_directory() -> bytes:
    """Return EF.ODF: where the other directory files are."""
    directories = (
        (0xA8, Fid.AODF),
        (0xA0, assumptions.PRKDF_FID),
        (0xA4, assumptions.CDF_FID),
        (0xA7, assumptions.DODF_FID),
    )
    return b"".join(Tlv(tag, _path(fid)) for tag, fid in directories)


def token_info(content: CardContent) -> bytes:
    """Return EF.TokenInfo; without supportedAlgorithms OpenSC would find no algorithm byte to send."""
    algorithms = (
        _sequence(
            _integer(number),
            _integer(each.mechanism),
            Tlv(0x05),
            Tlv(0x03, each.operations),
            Tlv(0x06, each.oid),
            _integer(each.algorithm),
        )
        for number, each in enumerate(_SUPPORTED_ALGORITHMS, 1)
    )
    return _sequence(
        _integer(0),
        Tlv(0x04, assumptions.token_serial(content.profile)),
        _utf8(assumptions.TOKEN_MANUFACTURER),
        Tlv(0x80, assumptions.TOKEN_LABEL.encode()),
        Tlv(0x03, bytes.fromhex("0430")),
        Tlv(0xA2, *algorithms),
    )


def authentication_objects(labels: Labels) -> bytes:
    """Return EF.AODF: the holder's PIN."""
    attributes = _sequence(
        Tlv(0x03, _PIN_FLAGS),
        Tlv(0x0A, b"\x01"),
        _integer(PIN_MINIMUM_LENGTH),
        _integer(PIN_STORED_LENGTH),
        _integer(PIN_STORED_LENGTH),
        Tlv(0x80, bytes([CodeReference.PIN])),
        Tlv(0x04, bytes([PIN_PADDING])),
    )
    return _sequence(
        _sequence(_utf8(labels.pin), Tlv(0x03, _PIN_OBJECT_FLAGS), Tlv(0x04, _AUTH_ID_PUK)),
        _sequence(Tlv(0x04, _AUTH_ID_PIN)),
        Tlv(0xA1, attributes),
    )


def private_keys(application: Aid, credentials: Iterable[CardCredential]) -> bytes:
    """Return EF.PrKDF."""
    return b"".join(_private_key(application, credential.role) for credential in credentials)


def certificates(application: Aid, credentials: Iterable[CardCredential], labels: Labels) -> bytes:
    """Return EF.CDF; each certificate has the identifier of its key."""
    return b"".join(
        _sequence(
            _sequence(_utf8(labels.certificate(credential.role)), Tlv(0x03, _READ_ONLY_OBJECT)),
            _sequence(Tlv(0x04, object_id(application, credential.role))),
            Tlv(0xA1, _sequence(_path(assumptions.CERTIFICATE_FIDS[credential.role]))),
        )
        for credential in credentials
    )


def data_objects(files: Iterable[assumptions.DataFile]) -> bytes:
    """Return EF.DODF: CPS_DATA, which may be written, then `files`."""
    modifiable = _data_object("CPS_DATA", assumptions.CPS_DATA_FID, Tlv(0x03, _MODIFIABLE_OBJECT))
    read_only = (
        _data_object(
            each.label,
            each.fid,
            *(
                (Tlv(0x03, _PRIVATE_OBJECT), Tlv(0x04, _AUTH_ID_PIN))
                if each.private
                else (Tlv(0x03, _READ_ONLY_OBJECT),)
            ),
        )
        for each in files
    )
    return modifiable + b"".join(read_only)


def _private_key(application: Aid, role: KeyRole) -> bytes:
    usage = {
        KeyRole.AUTHENTICATION: _USAGE_SIGN_DECIPHER,
        KeyRole.SIGNATURE: _USAGE_NON_REPUDIATION,
        KeyRole.TECHNICAL: _USAGE_SIGN,
    }[role]
    guard = [Tlv(0x04, _AUTH_ID_PIN)] if role.needs_login else []
    return _sequence(
        _sequence(_utf8(role.value), Tlv(0x03, _PRIVATE_KEY_FLAGS), *guard),
        _sequence(
            Tlv(0x04, object_id(application, role)),
            Tlv(0x03, usage),
            Tlv(0x03, _PRIVATE_KEY_ACCESS),
            _integer(key_reference(role)),
        ),
        Tlv(0xA1, _sequence(_sequence(Tlv(0x04)), _integer(_KEY_BITS))),
    )


def _data_object(label: str, fid: int, *attributes: bytes) -> bytes:
    return _sequence(_sequence(_utf8(label), *attributes), _sequence(_utf8("CPS")), Tlv(0xA1, _path(fid)))


def object_id(application: Aid, role: KeyRole) -> bytes:
    """Return the identifier that a key and its certificate share (CKA_ID)."""
    return bytes(application) + bytes([key_reference(role) & 0x7F])


def _path(fid: int) -> Tlv:
    return _sequence(Tlv(0x04, fid.to_bytes(2, "big")))


def _sequence(*values: bytes) -> Tlv:
    return Tlv(0x30, *values)


def _utf8(text: str) -> Tlv:
    return Tlv(0x0C, text.encode())


def _integer(number: int) -> Tlv:
    return Tlv(0x02, number.to_bytes(number.bit_length() // 8 + 1, "big"))
