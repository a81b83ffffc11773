"""What was not seen on a real card, gathered here: each value is a guess with which the drivers work.

When a real card shows another value, this is the only module to change.
"""

from collections.abc import Iterator
from typing import NamedTuple

from cardd.virtualcard.content import CardContent, CardProfile, KeyRole
from cardd.virtualcard.tlv import Tlv

TOKEN_LABEL = "CPS3"  # noqa: S105 - a name, not a secret
"""TokenInfo's label."""
TOKEN_MANUFACTURER = "cardd (virtual card)"  # noqa: S105 - a name, not a secret
APPLICATION_LABEL = "CPS"
"""Label of the application in EF.DIR."""

PRKDF_FID = 0x7002
CDF_FID = 0x7005
DODF_FID = 0x7006
CERTIFICATE_FIDS = {KeyRole.SIGNATURE: 0xA001, KeyRole.AUTHENTICATION: 0xA002, KeyRole.TECHNICAL: 0xA003}
TECHNICAL_KEY_REFERENCE = 0x83
SIGNATURE_NEEDS_A_VERIFY_EACH_TIME = False
"""Whether a signature with the signature key uses up the login."""
PUK_TRIES = 3
PUK_SECURITY_ENVIRONMENT = 3
"""The PIN's access rules ask for “user authentication in environment 3” to unblock it: here, the PUK."""
PUK_ACCESS = bytes.fromhex("F3FF00FFFF00")
"""Access rules of the PUK: it is presented and looked at, never changed."""
CPS_DATA_FID = 0xB001
CPS_DATA_SIZE = 512
"""Bytes reserved for CPS_DATA."""
SIGNATURE_KEY_ACCESS = bytes.fromhex("B31111FF00")
"""Access mode byte and security conditions of the signature key; those of the authentication key are known."""
TECHNICAL_KEY_ACCESS = bytes.fromhex("B30000FF00")


class DataFile(NamedTuple):
    """A data object of application “CPS”: its label, its file, its bytes, and whether the PIN guards it."""

    label: str
    fid: int
    content: bytes
    private: bool


def token_serial(profile: CardProfile) -> bytes:
    """Return TokenInfo's serialNumber; here the value of EF.SN, of which OpenSC shows the last 16 hex digits."""
    return profile.serial_number


def data_files(content: CardContent) -> Iterator[DataFile]:
    """Yield the read-only data objects; each is a sequence of UTF-8 strings under context tags 80, 81, 82…"""
    profile, holder = content.profile, content.holder
    profession = "" if holder.profession is None else str(holder.profession)
    yield DataFile(
        "CPS_ID_CARD",
        0xB002,
        _strings(profile.issuer, profile.serial, profile.card_type.value),
        private=False,
    )
    yield DataFile("CPS_NAME_PS", 0xB003, _strings(holder.family_name, holder.given_name), private=False)
    yield DataFile("CPS_LANG_PS", 0xB004, _strings(*holder.languages), private=False)
    yield DataFile("CPS_INFO_PS", 0xB005, _strings(holder.identifier, profession), private=False)
    yield DataFile("CPS_SIT_FACT", 0xB006, _strings(holder.billing), private=True)
    for number, activity in sorted(holder.activities.items()):
        yield DataFile(
            f"CPS_ACTIVITY_{number:02}_PS",
            0xB010 + number,
            _strings(activity.structure_id, activity.structure_name, activity.role),
            private=True,
        )


def _strings(*values: str) -> bytes:
    return b"".join(Tlv(0x80 + position, value.encode()) for position, value in enumerate(values))
