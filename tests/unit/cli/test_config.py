"""`cardd config`: what is wrong is named before a daemon is started with it."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cardd


def test_settings_that_hold_are_said_to(cardd: Cardd) -> None:
    done = cardd("config", "check")
    assert (done.code, done.out, "hold" in done.err) == (0, "", True)


def test_an_unknown_name_is_named_in_one_line(cardd: Cardd, tmp_path: Path) -> None:
    (tmp_path / "cardd.toml").write_text("[alerts]\nnonsense = 1\n")
    done = cardd("config", "check", "--file", str(tmp_path / "cardd.toml"))
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "nonsense" in done.err


@pytest.mark.parametrize(
    ("text", "setting", "sentence"),
    [
        ('[cards]\nmodules = "nothere"', "cards.modules", "is none of"),
        ('[backup]\nrecipients = "age1x"', "backup.recipients", "not an age recipient"),
        ("[backup]\nevery_hours = 1", "backup.every_hours", "names nobody"),
        ('[alerts]\nemails = "a@b"', "alerts.emails", "no mail server"),
        ('[smtp]\npassword_file = "/none"', "smtp.password_file", "cannot be read"),
        ('[smtp]\npassword_file = "OPEN"', "smtp.password_file", "open to others"),
        ('[webhooks]\nurls = "http://a/"', "webhooks", "neither https"),
        ('[[revocation.lists]]\nurl = "http://a/"\nissuer_certificate = "/none"', "revocation", "/none"),
    ],
)
def test_what_a_start_would_stumble_over_is_named(
    cardd: Cardd, tmp_path: Path, text: str, setting: str, sentence: str
) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "secret").chmod(0o644)
    (tmp_path / "cardd.toml").write_text(text.replace("OPEN", str(tmp_path / "secret")))
    done = cardd("config", "check", "--file", str(tmp_path / "cardd.toml"))
    assert done.code == 6, done.err
    assert done.out.startswith(f"{setting}: ")
    assert sentence in done.out
    (problem,) = json.loads(cardd("config", "check", "--json", "--file", f"{tmp_path}/cardd.toml").out)[
        "problems"
    ]
    assert problem["setting"] == setting


def test_what_is_shown_is_toml_that_would_be_read_again(cardd: Cardd, tmp_path: Path) -> None:
    shown = cardd("config", "show").out
    assert tomllib.loads(shown)["alerts"]["window_minutes"] == 15
    (tmp_path / "again.toml").write_text(shown)
    again = cardd("config", "show", "--file", str(tmp_path / "again.toml")).out
    assert tomllib.loads(again) == tomllib.loads(shown)
