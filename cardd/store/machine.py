"""Which machine of several this is: a random identifier, made once for a state directory."""

import os
import secrets
from pathlib import Path

#: The file in the state directory; a backup of the directory takes it along.
FILE = "machine"
_BYTES = 8


def machine_identifier(directory: Path, new: str | None = None) -> str:
    """Return the identifier of a state directory, made at the first call; file work: call it in a thread.

    `new`, 16 hexadecimal digits, is what is made where it is not to be random.
    """
    path = directory / FILE
    if not path.is_file():
        unfinished = directory / f".{FILE}.new"
        with unfinished.open("w", encoding="ascii") as file:
            file.write((new or secrets.token_hex(_BYTES)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    return path.read_text("ascii").strip()
