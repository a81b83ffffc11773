"""APDUs in the log, at a level below DEBUG; codes and deciphered data are masked here and nowhere else."""

import logging
from typing import NamedTuple

from cardd.virtualcard.wire import SW, Ins, Operation

TRAFFIC = 5
"""Level of the exchanges with a card."""
_MASK = "********"
_SECRET_COMMANDS = {Ins.VERIFY, Ins.CHANGE_REFERENCE_DATA, Ins.RESET_RETRY_COUNTER}
_DECIPHER = bytes([Ins.PERFORM_SECURITY_OPERATION]) + Operation.DECIPHER.to_bytes(2, "big")
_HEADER = 4

logging.addLevelName(TRAFFIC, "TRAFFIC")


class Exchange(NamedTuple):
    """A command and its answer as they may be shown."""

    command: str
    answer: str


class TrafficLog:
    """Logs the exchanges of one card; it remembers whether a waiting answer is a secret."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._secret_waits = False

    def log(self, command: bytes, answer: bytes) -> None:
        """Log one exchange."""
        exchange = self.shown(command, answer)
        self._logger.log(TRAFFIC, "%s -> %s", exchange.command, exchange.answer)

    def shown(self, command: bytes, answer: bytes) -> Exchange:
        """Return one exchange with codes and deciphered data masked; to be called for each in turn."""
        secret_answer = command[1:4] == _DECIPHER or (
            self._secret_waits and command[1:2] == bytes([Ins.GET_RESPONSE])
        )
        self._secret_waits = secret_answer
        secret_command = any(command[1:2] == bytes([ins]) for ins in _SECRET_COMMANDS)
        return Exchange(
            _shown_command(command, secret=secret_command), _shown_answer(answer, secret=secret_answer)
        )


def _shown_command(command: bytes, *, secret: bool) -> str:
    header, body = command[:_HEADER], command[_HEADER:]
    shown = _MASK if secret and len(body) > 1 else body.hex(" ").upper()
    return f"{header.hex(' ').upper()} {shown}".rstrip()


def _shown_answer(answer: bytes, *, secret: bool) -> str:
    data, sw = answer[:-2], int.from_bytes(answer[-2:], "big")
    shown = (_MASK if secret else data.hex(" ").upper()) + " " if data else ""
    return f"{shown}SW={sw:04X}{_meaning(sw)}"


def _meaning(sw: int) -> str:
    if sw in list(SW):
        return f" ({SW(sw).name})"
    for family, mask in ((SW.VERIFY_FAILED, 0xFFF0), (SW.MORE_DATA, 0xFF00), (SW.WRONG_LE, 0xFF00)):
        if sw & mask == family:
            return f" ({family.name} {sw & ~mask & 0xFFFF})"
    return ""
