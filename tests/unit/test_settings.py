"""Settings: where they come from, and what is refused."""

from pathlib import Path

import pytest

from cardd.settings import Settings, SettingsError, load_settings


def test_the_environment_overrides_the_file_and_the_command_line_both(tmp_path: Path) -> None:
    file = tmp_path / "cardd.toml"
    file.write_text("http_port = 1000\n[pki]\nca_algorithm = 'ec_p256'\nvalidity_years = 2\n")
    environment = {"CARDD_CONFIG": str(file), "CARDD_HTTP_PORT": "2000", "CARDD_PKI__VALIDITY_YEARS": "1"}
    settings = load_settings(environment, overrides={"http_port": 3000, "state_dir": None})
    assert (settings.http_port, settings.pki.validity_years, settings.pki.ca_algorithm) == (
        3000,
        1,
        "ec_p256",
    )
    assert load_settings(environment).http_port == 2000


def test_directories_follow_the_state_directory(tmp_path: Path) -> None:
    settings = load_settings({"CARDD_STATE_DIR": str(tmp_path / "a" / ".." / "b")})
    assert settings.state == tmp_path / "b"
    assert settings.runtime == tmp_path / "b" / "run"


def test_without_a_state_directory_the_users_own_is_taken() -> None:
    assert load_settings({"XDG_STATE_HOME": "/x/state"}).state == Path("/x/state/cardd")
    assert load_settings({"HOME": "/home/someone"}).state == Path("/home/someone/.local/state/cardd")


@pytest.mark.parametrize(
    ("toml", "named"),
    [
        ("htp_port = 1", "htp_port"),
        ("http_port = 70000", "http_port"),
        ("[pki]\nca_algorithm = 'md5'", "pki.ca_algorithm"),
        ("[orders]\nnotice_days = 'soon'", "orders.notice_days"),
        ("not toml", "TOML"),
    ],
)
def test_a_wrong_setting_is_refused_by_its_name(tmp_path: Path, toml: str, named: str) -> None:
    file = tmp_path / "cardd.toml"
    file.write_text(toml)
    with pytest.raises(SettingsError) as refusal:
        load_settings({}, config_file=file)
    assert named in refusal.value.detail.en
    assert named in refusal.value.detail.fr


def test_a_wrong_variable_is_refused_by_its_name() -> None:
    with pytest.raises(SettingsError, match="CARDD_HTTP_PORT"):
        load_settings({"CARDD_HTTP_PORT": "eighty"})


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_settings({}, config_file=tmp_path / "nowhere.toml")


def test_settings_cannot_be_changed_once_read() -> None:
    settings: Settings = load_settings({})
    with pytest.raises(AttributeError):
        settings.http_port = 1  # type: ignore[misc]
