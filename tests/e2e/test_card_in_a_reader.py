"""The main job with a virtual card in a reader: real pcscd, real OpenSC, and a card that is pulled at bad moments."""

import json
import os
import re
import signal
import sqlite3
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cardd.virtualcard import ConfinedPcscd
from tests.e2e.conftest import DaemonMaker
from tests.support.running import QUICK, Answer, RunningDaemon

CODE = "code-de-revocation-1"
VIRTUAL = {**QUICK, "CARDD_READERS__VIRTUAL": "on"}
MOST_GROWTH_KIB = 32 << 10
#: The caller of what a pulled card interrupts has its answer within that time of the removal.
TOLD_WITHIN_SECONDS = 0.2
_KINDS = {"inserted": "inserted", "removed": "removed", "reader_gone": "removed"}


class Movement(NamedTuple):
    """One card into or out of a reader."""

    kind: str
    card: str
    reader: str


class Desk(NamedTuple):
    """A daemon and one virtual card of its demonstration's habilitation."""

    daemon: RunningDaemon
    habilitation: dict[str, Any]
    card: str

    def move(self, where: str) -> Answer:
        """Insert or remove the card."""
        return self.daemon.call("POST", f"/api/v1/test-cards/{self.card}/{where}")

    def session(self, pin: str = "1234") -> Answer:
        """Ask for a card session."""
        return self.daemon.call("POST", f"/api/v1/cards/{self.card}/session", {"pin": pin})

    def order(self, session: str, service: str) -> Answer:
        """Ask for a certificate."""
        body = {
            "offer": "ORG",
            "usage": "AUTH_CLI",
            "structure": self.habilitation["structures"][0]["id"],
            "service": service,
            "contacts": ["tests@example.org"],
            "key": {"source": "token"},
        }
        return self.daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session})


def _require_virtual_readers() -> None:
    missing = ConfinedPcscd.missing_part()
    if missing is not None:
        pytest.skip(f"no virtual reader here: {missing.en}")


def _new_card(daemon: RunningDaemon) -> Desk:
    habilitation = daemon.call("GET", "/api/v1/habilitations").json["items"][0]
    made = daemon.call(
        "POST", "/api/v1/test-cards", {"habilitation": habilitation["id"], "medium": "virtual"}
    )
    assert made.status == 201, made.body
    assert made.json["medium"] == "virtual"
    assert not made.json["present"]
    return Desk(daemon, habilitation, made.json["serial"])


@pytest.fixture(scope="module")
def virtual_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDaemon]:
    """A daemon with virtual readers, whatever is plugged in."""
    _require_virtual_readers()
    daemon = RunningDaemon(tmp_path_factory.mktemp("virtual") / "state", VIRTUAL)
    daemon.start()
    yield daemon
    daemon.end()


@pytest.fixture
def desk(virtual_daemon: RunningDaemon) -> Iterator[Desk]:
    """A new virtual card in a reader."""
    desk = _new_card(virtual_daemon)
    inserted = desk.move("insert")
    assert inserted.status == 200, inserted.body
    assert inserted.json["reader"].startswith("Virtual PCD")
    yield desk
    desk.move("remove")


def test_a_certificate_is_ordered_retrieved_and_revoked_with_a_card_in_a_reader(desk: Desk) -> None:
    daemon = desk.daemon
    opened = desk.session()
    assert opened.status == 201, opened.body
    session = opened.json["id"]
    assert [each["id"] for each in opened.json["habilitations"]] == [desk.habilitation["id"]]
    order = desk.order(session, "CARTE-LECTEUR")
    assert order.status == 201, order.body
    retrieved = daemon.call(
        "POST",
        f"/api/v1/orders/{order.json['id']}/retrieval",
        {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True},
        headers={"Card-Session": session},
    )
    assert retrieved.status == 201, retrieved.body
    revoked = daemon.call(
        "POST",
        f"/api/v1/certificates/{retrieved.json['serial']}/revocation",
        {"reason": "superseded"},
        headers={"Card-Session": session},
    )
    assert revoked.status == 200, revoked.body


def test_the_card_counts_its_tries_and_keeps_them_out_of_the_reader(desk: Desk) -> None:
    refused = desk.session("9999")
    assert (refused.status, refused.json["tries_left"]) == (403, 2)
    desk.move("remove")
    assert desk.move("insert").json["pin"]["tries_left"] == 2
    assert desk.session().status == 201


def test_after_a_removal_the_session_is_over_and_the_card_needs_its_pin_again(desk: Desk) -> None:
    session = desk.session().json["id"]
    desk.move("remove")
    assert desk.order(session, "RETIREE").status == 409
    desk.move("insert")
    again = desk.order(session, "RETIREE")
    assert (again.status, again.json["type"].rpartition(":")[2]) == (409, "card_session_ended")


def test_a_third_card_finds_no_free_reader(desk: Desk) -> None:
    second, third = _new_card(desk.daemon), _new_card(desk.daemon)
    assert second.move("insert").json["reader"] != third.card
    refused = third.move("insert")
    assert (refused.status, refused.json["type"].rpartition(":")[2]) == (409, "virtual_reader_not_free")
    assert desk.move("insert").status == 409
    second.move("remove")
    assert third.move("remove").status == 409


def test_a_virtual_card_misbehaves_as_told_from_its_next_insertion(desk: Desk) -> None:
    path = f"/api/v1/test-cards/{desk.card}/faults"
    locked = desk.daemon.call("PUT", path, {"faults": [{"type": "already_locked"}]})
    assert locked.status == 204, locked.body
    assert desk.session().status == 201
    desk.move("remove")
    assert desk.move("insert").json["pin"] == {"state": "locked", "tries_left": 0}
    refused = desk.session()
    assert (refused.status, refused.json["type"].rpartition(":")[2]) == (423, "pin_locked")
    assert desk.daemon.call("PUT", path, {"faults": []}).status == 204


def test_faults_that_do_not_exist_and_cards_that_are_not_virtual_are_refused(desk: Desk) -> None:
    wrong = {"faults": [{"type": "slow", "seconds": -1}]}
    assert desk.daemon.call("PUT", f"/api/v1/test-cards/{desk.card}/faults", wrong).status == 422
    first = desk.daemon.call("GET", "/api/v1/cards").json["items"]
    software = next(card["serial"] for card in first if card["medium"] == "softhsm")
    refused = desk.daemon.call("PUT", f"/api/v1/test-cards/{software}/faults", {"faults": []})
    assert (refused.status, refused.json["type"].rpartition(":")[2]) == (409, "card_not_virtual")


@pytest.mark.parametrize("head_start", [0.0, 0.02, 0.05, 0.1, 0.2])
def test_a_card_pulled_in_the_middle_of_login_is_told_at_once(desk: Desk, head_start: float) -> None:
    pulled = _pull_during(desk, desk.session, head_start)
    assert pulled.answer.status in (201, 409), pulled.answer.body
    if pulled.answer.status == 201:
        gone = desk.daemon.call("DELETE", f"/api/v1/cards/{desk.card}/session")
        assert gone.status == 204
    else:
        assert pulled.answer.json["type"].rpartition(":")[2] in ("card_removed", "card_absent")
    assert pulled.late < TOLD_WITHIN_SECONDS
    desk.move("insert")
    assert desk.session().status == 201


@pytest.mark.parametrize("head_start", [0.0, 0.05, 0.1, 0.2])
def test_a_card_pulled_in_the_middle_of_an_order_leaves_nothing_half_done(
    desk: Desk, head_start: float
) -> None:
    session = desk.session().json["id"]
    before = _orders(desk.daemon)
    pulled = _pull_during(desk, lambda: desk.order(session, "PENDANT"), head_start)
    assert pulled.answer.status in (201, 409), pulled.answer.body
    assert pulled.late < TOLD_WITHIN_SECONDS
    assert _orders(desk.daemon) - before == (1 if pulled.answer.status == 201 else 0)
    desk.move("insert")
    again = desk.order(desk.session().json["id"], "APRES")
    assert again.status == 201, again.body


def test_what_was_in_a_reader_is_there_after_a_restart_and_a_kill(
    make_daemon: DaemonMaker, tmp_path: Path
) -> None:
    _require_virtual_readers()
    daemon = make_daemon(tmp_path / "state", VIRTUAL)
    daemon.start()
    desk, away = _new_card(daemon), _new_card(daemon)
    desk.move("insert")
    folders = {path.name for path in (daemon.state / "virtual-cards").iterdir()}
    assert folders == {desk.card, away.card}
    (daemon.state / "virtual-cards" / "12345678").mkdir()
    for end in (daemon.stop, daemon.kill):
        end()
        daemon.start()
        _until(lambda: _present(daemon, desk.card))
        assert not _present(daemon, away.card)
        assert desk.session().status == 201
    assert {path.name for path in (daemon.state / "virtual-cards").iterdir()} == folders
    for path in (daemon.state / "virtual-cards").rglob("*.json"):
        assert path.stat().st_mode & 0o077 == 0


def test_without_virtual_readers_a_virtual_card_is_refused_and_one_sentence_says_why(
    make_daemon: DaemonMaker, tmp_path: Path
) -> None:
    daemon = make_daemon(tmp_path / "state", {**QUICK, "CARDD_READERS__PCSC": "off"})
    daemon.start()
    habilitation = daemon.call("GET", "/api/v1/habilitations").json["items"][0]["id"]
    body = {"habilitation": habilitation, "medium": "virtual"}
    refused = daemon.call("POST", "/api/v1/test-cards", body)
    assert refused.status == 422
    assert "no virtual reader runs: Readers are switched off" in refused.json["fields"][0]["problem"]
    parts = {part["name"]: part for part in daemon.call("GET", "/api/v1/health").json["parts"]}
    assert parts["readers"]["ok"]
    assert "switched off" in parts["readers"]["detail"]["en"]


class _Pulled(NamedTuple):
    answer: Answer
    #: Seconds from the end of the removal to the answer; negative where the answer came first.
    late: float


def _pull_during(desk: Desk, work: Callable[[], Answer], head_start: float) -> _Pulled:
    began = threading.Event()
    ended = 0.0

    def run() -> Answer:
        nonlocal ended
        began.set()
        answer = work()
        ended = time.monotonic()
        return answer

    with ThreadPoolExecutor(1) as threads:
        working = threads.submit(run)
        began.wait()
        threading.Event().wait(head_start)
        assert desk.move("remove").status == 200
        removed = time.monotonic()
        answer = working.result(30)
    return _Pulled(answer, ended - removed)


def _orders(daemon: RunningDaemon) -> int:
    return len(daemon.call("GET", "/api/v1/orders?limit=500").json["items"])


def _present(daemon: RunningDaemon, card: str) -> bool:
    return bool(daemon.call("GET", f"/api/v1/cards/{card}").json["present"])


def _until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        threading.Event().wait(0.05)


@pytest.mark.slow
def test_1000_movements_over_two_readers_with_pcscd_killed_three_times_lose_and_double_nothing(
    make_daemon: DaemonMaker, tmp_path: Path
) -> None:
    _require_virtual_readers()
    daemon = make_daemon(tmp_path / "state", {**VIRTUAL, "CARDD_LOG__LEVEL": "debug"})
    daemon.start()
    desks = [_new_card(daemon), _new_card(daemon)]

    def cycles(number: int) -> None:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda desk: _cycles(desk, number), desks))

    cycles(4)
    memory, threads_before = _status(daemon, "VmRSS"), _status(daemon, "Threads")
    for _ in range(3):
        cycles(80)
        for desk in desks:
            assert desk.move("insert").status == 200
        told = len(_movements(daemon))
        os.kill(_pcscd_of(daemon), signal.SIGKILL)
        _until(lambda told=told: len(_movements(daemon)) == told + 4, 60)  # type: ignore[misc]
        for desk in desks:
            assert desk.move("remove").status == 200
    told_in_all, done = _movements(daemon), _done_by_the_cards(daemon)
    assert len(told_in_all) == 1000
    assert _by_card(told_in_all) == _by_card(done)
    assert _status(daemon, "VmRSS") - memory < MOST_GROWTH_KIB
    assert _status(daemon, "Threads") <= threads_before + 2


def _cycles(desk: Desk, number: int) -> None:
    for _ in range(number):
        assert desk.move("insert").status == 200
        assert desk.move("remove").status == 200


def _movements(daemon: RunningDaemon) -> list[Movement]:
    """Return the insertions and removals of virtual cards that the daemon has published, oldest first."""
    wanted = (
        "SELECT type, subject, json_extract(data, '$.reader') FROM events WHERE type IN (?, ?) ORDER BY id"
    )
    with closing(sqlite3.connect(f"file:{daemon.state}/cardd.sqlite3?mode=ro", uri=True)) as database:
        rows = database.execute(wanted, ("card.inserted", "card.removed")).fetchall()
    return [
        Movement(kind.removeprefix("card."), subject.removeprefix("card:"), reader)
        for kind, subject, reader in rows
        if reader.startswith("Virtual PCD")
    ]


def _done_by_the_cards(daemon: RunningDaemon) -> list[Movement]:
    """Return the same from the virtual cards' own log; a reader that is gone is a removal."""
    lines = map(json.loads, filter(lambda line: line.startswith("{"), daemon.log.read_text().splitlines()))
    return [
        Movement(_KINDS[line["befell"]], line["card"], line["reader"])
        for line in lines
        if line["event"] == "virtual_card"
    ]


def _by_card(movements: list[Movement]) -> dict[str, list[Movement]]:
    moves: dict[str, list[Movement]] = defaultdict(list)
    for movement in movements:
        moves[movement.card].append(movement)
    return moves


def _status(daemon: RunningDaemon, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{daemon.pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def _pcscd_of(daemon: RunningDaemon) -> int:
    """Return the process of the daemon's own pcscd."""
    directory = str(daemon.state / "run" / "pcsc")
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"pcscd") and any(directory.encode() in word for word in words):
            return int(path.parent.name)
    pytest.fail("the daemon runs no pcscd")
