"""Command APDUs parsed from bytes (ISO/IEC 7816-3 §12)."""

from dataclasses import dataclass
from enum import Enum


class Protocol(Enum):
    """How a command's length bytes are read and answered."""

    T0 = 0
    """Contact: a case-4 command comes without Le, its answer waits for GET RESPONSE."""
    T1 = 1
    """Contactless: answers come at once."""


class ApduError(ValueError):
    """The bytes are not a command: too short, or lengths that contradict each other."""


@dataclass(frozen=True)
class Command:
    """One command: header, data (without Lc), and the number of bytes expected (`le`), None when unsaid."""

    cla: int
    ins: int
    p1: int
    p2: int
    data: bytes
    le: int | None

    @property
    def p1p2(self) -> int:
        """Both parameters as one number."""
        return self.p1 << 8 | self.p2

    @property
    def is_chained(self) -> bool:
        """Whether more commands of the same chain follow (ISO/IEC 7816-4 §5.3.3)."""
        return bool(self.cla & 0x10)


def parse_command(raw: bytes) -> Command:
    """Parse one short command; Le 00 means 256.

    Raises:
        ApduError: fewer than four bytes, or Lc that does not fit.
    """
    if len(raw) < 4:
        raise ApduError("shorter than a header")
    header, body = raw[:4], raw[4:]
    match len(body):
        case 0:
            data, le = b"", None
        case 1:
            data, le = b"", body[0] or 0x100
        case size if size == 1 + body[0]:
            data, le = body[1:], None
        case size if size == 2 + body[0]:
            data, le = body[1:-1], body[-1] or 0x100
        case _:
            raise ApduError("Lc does not fit")
    cla, ins, p1, p2 = header
    return Command(cla, ins, p1, p2, data, le)


class StatusError(Exception):
    """A command that ends with a status word other than 9000 and no data."""

    def __init__(self, sw: int) -> None:
        super().__init__(f"SW={sw:04X}")
        self.sw = sw
