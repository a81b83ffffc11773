"""SoftHSM's configuration, made from the template for one state directory."""

from pathlib import Path

from cardd_pkcs11.errors import TokenError
from cardd_pkcs11.files import write_atomically
from cardd_pkcs11.resources import resource_directory

#: SoftHSM reads its configuration by lines of at most this many bytes, the line feed included.
_LINE_LIMIT = 1023
_KEY = "directories.tokendir = "


def write_softhsm_config(state_dir: Path) -> Path:
    """Lay out `<state_dir>/softhsm` (0700) and return its `softhsm2.conf` (0600), for SOFTHSM2_CONF.

    The file is replaced atomically, and only when it differs.

    Raises:
        TokenError: SoftHSM could not read a path like this one back from its configuration.
    """
    directory = state_dir.resolve() / "softhsm"
    tokens = directory / "tokens"
    _check_readable_by_softhsm(tokens)
    for path in (directory, tokens):
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.chmod(0o700)
    template = (resource_directory("softhsm-config") / "softhsm2.conf.template").read_text("utf-8")
    configuration = directory / "softhsm2.conf"
    _write_if_different(configuration, template.replace("@TOKEN_DIRECTORY@", str(tokens)).encode())
    return configuration


def _check_readable_by_softhsm(path: Path) -> None:
    text = str(path)
    if any(character in text for character in "#=\r\n\0"):
        raise TokenError(
            f"SoftHSM cannot use the directory {text!r}: its configuration has no way to write # or ="
        )
    if text != text.strip() or len(f"{_KEY}{text}\n".encode()) > _LINE_LIMIT:
        raise TokenError(f"SoftHSM cannot use the directory {text!r}: it is too long or ends with a blank")


def _write_if_different(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        path.chmod(0o600)
        return
    write_atomically(path, content)
