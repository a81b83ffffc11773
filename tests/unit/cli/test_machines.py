"""`cardd machine …` and `cardd migrate-store`, as an operator at a terminal sees them."""

from datetime import timedelta
from pathlib import Path

import pytest

from cardd.machines.types import MachineView
from tests.support.api_samples import NOW
from tests.support.fake_daemon import FakeDaemon, Scripted
from tests.unit.cli.conftest import Cardd

HERE = MachineView(
    id="0" * 15 + "a", name="alpha", here=True, holds_ca=True, address="192.0.2.10:8981",
    certificate_sha256="ab" * 32, enrolled=True, enrolled_at=NOW, seen_at=NOW,
)  # fmt: skip
OTHER = MachineView(
    id="0" * 15 + "b", name="beta", here=False, holds_ca=False, address="",
    certificate_sha256="cd" * 32, enrolled=False, enrolled_at=None, seen_at=NOW + timedelta(minutes=1),
)  # fmt: skip


def test_the_list_shows_who_is_here_who_signs_and_what_to_compare(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("GET", "/machines", Scripted(200, {"items": [HERE, OTHER], "next_cursor": None}))
    shown = cardd("machine", "list").out
    assert "alpha *" in shown
    assert all(each.certificate_sha256 in shown for each in (HERE, OTHER))
    assert "192.0.2.10:8981" in shown


@pytest.mark.parametrize(("word", "path"), [("enrol", "enrolment"), ("withdraw", "withdrawal")])
def test_a_decision_is_sent_and_its_outcome_shown(
    fake: FakeDaemon, cardd: Cardd, word: str, path: str
) -> None:
    fake.on("POST", f"/machines/{OTHER.id}/{path}", Scripted(200, OTHER))
    assert OTHER.certificate_sha256 in cardd("machine", word, OTHER.id).out
    assert fake.asked[-1].target.endswith(f"/machines/{OTHER.id}/{path}")


def test_a_move_without_a_database_says_which_setting_is_missing(cardd: Cardd, tmp_path: Path) -> None:
    done = cardd("migrate-store", "--state-dir", str(tmp_path))
    assert done.code == 2
    assert "store.url" in done.err
