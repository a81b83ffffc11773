"""OpenSC's configuration, and whose tokens are cards."""

from pathlib import Path

import pytest

from cardd_pkcs11.opensc import write_opensc_config
from cardd_pkcs11.profiles import load_profile
from cardd_pkcs11.types import TokenSerial


def test_only_the_host_that_unblocks_takes_a_puk_for_an_old_pin(tmp_path: Path) -> None:
    usual = write_opensc_config(tmp_path / "opensc")
    unblocking = write_opensc_config(tmp_path / "opensc", unblocking=True)
    assert usual != unblocking
    assert "user_pin_unblock_style = none;" in usual.read_text()
    assert "user_pin_unblock_style = set_pin_in_unlogged_session;" in unblocking.read_text()
    for path in (usual, unblocking):
        assert path.stat().st_mode & 0o777 == 0o600
        assert "use_pin_caching = false;" in path.read_text()
        assert "type = 25008;" in path.read_text()


@pytest.mark.parametrize(
    ("profile", "token", "card"),
    [
        ("opensc", "000001280063626f", "28006362"),
        ("opensc", "000001280063626F", "28006362"),
        ("opensc", "0000012800636260", None),
        ("opensc", "DENK0100001", None),
        ("cryptolib-cps", "28006362", "28006362"),
        ("cryptolib-cps", "280063621", None),
    ],
)
def test_a_token_s_serial_tells_the_card_s(profile: str, token: str, card: str | None) -> None:
    support = load_profile(profile).card
    assert support is not None
    assert support.card_serial(TokenSerial(token)) == card
