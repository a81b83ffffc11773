"""The constants of the wire: status words, instructions, file and application identifiers, tags, algorithms.

ISO/IEC 7816-4 and 7816-8 as IAS-ECC cards use them. Identifiers of files that were not seen on a
real card are in `assumptions`.
"""

from enum import Enum, IntEnum, unique


@unique
class SW(IntEnum):
    """Status words (ISO/IEC 7816-4 §5.6). Those with a count in their low byte are built by functions below."""

    OK = 0x9000
    MORE_DATA = 0x6100
    """Low byte: bytes still to be fetched with GET RESPONSE, 00 for 256 or more."""
    VERIFY_FAILED = 0x63C0
    """Low four bits: tries left."""
    MEMORY_FAILURE = 0x6581
    WRONG_LENGTH = 0x6700
    CHANNEL_NOT_SUPPORTED = 0x6881
    SECURE_MESSAGING_NOT_SUPPORTED = 0x6882
    SECURITY_STATUS_NOT_SATISFIED = 0x6982
    AUTHENTICATION_BLOCKED = 0x6983
    CONDITIONS_NOT_SATISFIED = 0x6985
    NO_CURRENT_FILE = 0x6986
    WRONG_DATA = 0x6A80
    FUNCTION_NOT_SUPPORTED = 0x6A81
    FILE_NOT_FOUND = 0x6A82
    WRONG_P1_P2 = 0x6A86
    REFERENCE_NOT_FOUND = 0x6A88
    OFFSET_OUTSIDE_FILE = 0x6B00
    WRONG_LE = 0x6C00
    """Low byte: the exact Le to ask for."""
    INS_NOT_SUPPORTED = 0x6D00
    CLA_NOT_SUPPORTED = 0x6E00
    UNKNOWN = 0x6F00


def sw_tries_left(tries: int) -> int:
    """Return 63Cx for a wrong PIN with `tries` left."""
    return SW.VERIFY_FAILED | min(tries, 0xF)


def sw_more_data(waiting: int) -> int:
    """Return 61xx for `waiting` bytes still to be fetched."""
    return SW.MORE_DATA | (waiting if waiting < 0x100 else 0)


def sw_wrong_le(available: int) -> int:
    """Return 6Cxx for a command that asked for another length than `available`."""
    return SW.WRONG_LE | (available & 0xFF)


@unique
class Ins(IntEnum):
    """Instruction bytes (ISO/IEC 7816-4 §5.5, 7816-8)."""

    VERIFY = 0x20
    MANAGE_SECURITY_ENVIRONMENT = 0x22
    CHANGE_REFERENCE_DATA = 0x24
    PERFORM_SECURITY_OPERATION = 0x2A
    RESET_RETRY_COUNTER = 0x2C
    GET_CHALLENGE = 0x84
    INTERNAL_AUTHENTICATE = 0x88
    SELECT = 0xA4
    READ_BINARY = 0xB0
    GET_RESPONSE = 0xC0
    GET_DATA = 0xCA
    GET_DATA_SDO = 0xCB
    """GET DATA with an extended header list, the form that reads secure data objects."""
    UPDATE_BINARY = 0xD6


@unique
class Operation(IntEnum):
    """P1-P2 of PERFORM SECURITY OPERATION."""

    DECIPHER = 0x8086
    HASH = 0x90A0
    COMPUTE_DIGITAL_SIGNATURE = 0x9E9A


@unique
class SelectBy(IntEnum):
    """P1 of SELECT."""

    FILE_ID = 0x00
    CHILD_DF = 0x01
    EF_IN_CURRENT_DF = 0x02
    PARENT_DF = 0x03
    DF_NAME = 0x04
    PATH_FROM_MF = 0x08
    PATH_FROM_CURRENT_DF = 0x09


@unique
class Fid(IntEnum):
    """File identifiers of a CPS3."""

    MF = 0x3F00
    CONTACT_DF = 0x0001
    CONTACTLESS_DF = 0x0002
    EF_DIR = 0x2F00
    EF_ATR = 0x2F01
    ODF = 0x5031
    TOKEN_INFO = 0x5032
    AODF = 0x7001
    EF_SN = 0xD003
    EF_ACTUA = 0xD010
    """Not found on the cards seen."""


@unique
class Sfi(IntEnum):
    """Short file identifiers."""

    EF_SN = 0x1C
    EF_ATR = 0x1D
    EF_DIR = 0x1E


@unique
class Aid(bytes, Enum):
    """Application identifiers (ISO/IEC 7816-5)."""

    ROOT = bytes.fromhex("80250000 01FF0100")
    CONTACT = bytes.fromhex("E828BD080F 80250000 01FF0010")
    CONTACTLESS = bytes.fromhex("E828BD080F 80250000 01FF0020")


@unique
class Tag(IntEnum):
    """BER tags of commands, file control parameters and secure data objects."""

    EXTENDED_HEADER_LIST = 0x4D
    AID = 0x4F
    LABEL = 0x50
    PATH = 0x51
    PAN = 0x5A
    APPLICATION = 0x61
    FCP = 0x62
    SDO_WRAPPER = 0x70
    DISCRETIONARY = 0x73
    SECURITY_ENVIRONMENT = 0x7B
    PIN_ATTRIBUTES = 0x7F41
    PRIVATE_KEY_VALUE = 0x7F48
    PUBLIC_KEY_VALUE = 0x7F49
    FILE_SIZE = 0x80
    FILE_DESCRIPTOR = 0x82
    FILE_ID = 0x83
    DF_NAME = 0x84
    SHORT_FILE_ID = 0x88
    LIFE_CYCLE = 0x8A
    ACCESS_RULES_CONTACT = 0x8C
    """Mandatory: OpenSC refuses a file whose parameters lack it."""
    ACCESS_RULES_CONTACTLESS = 0x9C
    SDO_PARAMETERS = 0xA0
    ACCESS_RULES = 0xA1
    TRIES_MAX = 0x9A
    TRIES_LEFT = 0x9B


@unique
class KeyTag(IntEnum):
    """Tags inside the public key 7F49 and the PIN's attributes 7F41."""

    PIN_STORED_LENGTH = 0x80
    MODULUS_OR_PIN_MINIMUM = 0x81
    EXPONENT = 0x82


@unique
class OperationTag(IntEnum):
    """Tags inside MSE SET and PSO HASH."""

    ALGORITHM_OR_LAST_BLOCK = 0x80
    """MSE SET: the algorithm; PSO HASH: the last block of the message."""
    KEY_REFERENCE_PUBLIC = 0x83
    KEY_REFERENCE_PRIVATE = 0x84
    HASH_STATE = 0x90
    """PSO HASH: empty, the whole hash, or an intermediate state with its bit count."""
    USAGE_QUALIFIER = 0x95


@unique
class SdoClass(IntEnum):
    """Classes of IAS-ECC secure data objects; on the wire the tag is BF, class | 80, reference."""

    PIN = 0x01
    PRIVATE_KEY = 0x10
    PUBLIC_KEY = 0x20
    SECURITY_ENVIRONMENT = 0x7B

    def tag(self, reference: int) -> int:
        """Return the three-byte BER tag of the object `reference` (1 to 127) of this class."""
        return 0xBF8000 | self << 8 | reference


@unique
class Template(IntEnum):
    """Control reference templates, P2 of MSE SET (ISO/IEC 7816-4 §10.3)."""

    AUTHENTICATION = 0xA4
    HASH = 0xAA
    DIGITAL_SIGNATURE = 0xB6
    CONFIDENTIALITY = 0xB8


@unique
class Algorithm(IntEnum):
    """Algorithm bytes of MSE SET and of TokenInfo's supportedAlgorithms."""

    RSA_PKCS = 0x02
    """INTERNAL AUTHENTICATE: the caller gives the DigestInfo."""
    HASH_SHA1 = 0x10
    SIGN_SHA1 = 0x12
    DECIPHER_RSA_PKCS = 0x1A
    HASH_SHA256 = 0x40
    SIGN_SHA256 = 0x42


@unique
class KeyReference(IntEnum):
    """References of the private keys, as MSE SET and the PKCS#15 keyReference name them."""

    SIGNATURE = 0x81
    AUTHENTICATION = 0x82


@unique
class CodeReference(IntEnum):
    """P2 of VERIFY, and references of the codes' secure data objects."""

    PIN = 0x01
    PUK = 0x02
    """As the PIN's own access rules and its PKCS#15 authId let one expect."""


PIN_PADDING = 0xFF
"""PINs are stored on eight bytes, padded with this one."""
PIN_STORED_LENGTH = 8
PIN_MINIMUM_LENGTH = 4
