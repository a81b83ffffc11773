"""OpenSC's configuration for the daemon's own hosts: nothing of the user's own, no caches, contactless cards known."""

from pathlib import Path
from typing import Final

#: No file of a card outlives its session, and no PIN is presented a second time by OpenSC on its own. The
#: contactless CPS3 is known to the driver by its type only when its ATR is named here.
_CONFIGURATION: Final = """\
app default {{
    framework pkcs15 {{
        use_file_caching = no;
        use_pin_caching = false;
    }}
    card_atr 3B:8F:80:01:00:31:B8:64:04:B0:EC:C1:73:94:01:80:82:90:00:0E {{
        driver = "iasecc";
        type = 25008;
    }}
}}
app opensc-pkcs11 {{
    pkcs11 {{
        user_pin_unblock_style = {unblock_style};
    }}
}}
"""


def write_opensc_config(directory: Path, *, unblocking: bool = False) -> Path:
    """Write a configuration (0600) into `directory` (made, 0700) and return it, for OPENSC_CONF.

    With `unblocking`, C_SetPIN without a login takes the PUK. It is for a host of its own: everywhere else a
    mistaken PIN change must not cost a try of the PUK.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / ("opensc-unblock.conf" if unblocking else "opensc.conf")
    style = "set_pin_in_unlogged_session" if unblocking else "none"
    text = _CONFIGURATION.format(unblock_style=style)
    if not path.is_file() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path
