"""The store of tpm2-pkcs11 for one state directory: what is encrypted by the TPM, and what names its tokens.

The store is a database of key blobs that only the TPM which made them loads. A copy of it is of no use elsewhere.
"""

import secrets
from pathlib import Path
from typing import NamedTuple

from cardd_pkcs11.files import write_atomically

_DIRECTORY = "tpm2"
_SEED = "serial-seed"
_SEED_BYTES = 16


class TpmStore(NamedTuple):
    """Where the store is, and what the serials of its tokens are made from."""

    directory: Path
    serial_seed: str

    def environment(self, tcti: str) -> dict[str, str]:
        """Return what selects the store and the TPM; an empty `tcti` leaves it to the first that answers."""
        chosen = {"TPM2_PKCS11_STORE": str(self.directory), "TPM2_PKCS11_BACKEND": "esysdb"}
        return chosen | ({"TPM2_PKCS11_TCTI": tcti} if tcti else {})


def open_tpm_store(state_dir: Path) -> TpmStore:
    """Lay out `<state_dir>/tpm2` (0700) with a random seed (0600), which stays as it is."""
    directory = state_dir.resolve() / _DIRECTORY
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    file = directory / _SEED
    if not file.is_file():
        write_atomically(file, secrets.token_hex(_SEED_BYTES).encode("ascii"))
    return TpmStore(directory, file.read_text("ascii"))
