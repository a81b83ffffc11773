"""Files that only the owner reads, put in their place whole or not at all."""

import os
import secrets
from pathlib import Path


def write_draft(path: Path, content: bytes) -> Path:
    """Write what `path` shall hold into a file (0600) beside it, on disk before this returns; blocking."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return draft
