"""What a person or a script sees of the command line, and what the daemon is sent."""

import json
from pathlib import Path

import pytest

from tests.support.api_samples import SESSION, STRUCTURE, card, certificate, order
from tests.support.fake_daemon import FakeDaemon, Scripted, problem
from tests.unit.cli.conftest import TOKEN, Cardd

ORDER = (
    "order",
    "new",
    "--offer",
    "ORG",
    "--usage",
    "AUTH_CLI",
    "--service",
    "EMA",
    "--contact",
    "me@example.org",
)


@pytest.fixture
def demo(fake: FakeDaemon) -> FakeDaemon:
    """A daemon with one card present, whose PIN opens a session."""
    fake.on("GET", "/cards", Scripted(200, {"items": [card()], "next_cursor": None}))
    fake.on("POST", "/cards/00000017/session", Scripted(201, SESSION))
    fake.on("DELETE", "/cards/00000017/session", Scripted(204))
    fake.on("POST", "/orders", Scripted(201, order()))
    return fake


def test_an_order_opens_a_card_session_and_closes_it(demo: FakeDaemon, cardd: Cardd) -> None:
    done = cardd(*ORDER, "--pin-stdin", stdin="1234\n")
    assert done.code == 0, done.err
    assert "order-1" in done.out
    assert [(each.method, each.target) for each in demo.asked] == [
        ("GET", "/api/v1/cards"),
        ("POST", "/api/v1/cards/00000017/session"),
        ("POST", "/api/v1/orders"),
        ("DELETE", "/api/v1/cards/00000017/session"),
    ]
    assert demo.asked[1].body == {"pin": "1234", "accept_final_try": False, "purpose": "order"}
    assert demo.asked[2].headers["Card-Session"] == "session-1"
    assert demo.asked[2].body["structure"] == STRUCTURE.id
    assert demo.asked[2].body["key"]["source"] == "token"


def test_a_refused_order_closes_the_session_that_was_opened_for_it(demo: FakeDaemon, cardd: Cardd) -> None:
    fields = [{"field": "service", "problem": "is too long"}]
    demo.on(
        "POST",
        "/orders",
        problem(422, "invalid_fields", "service: is too long", advice="Shorten it.", fields=fields),
    )
    done = cardd(*ORDER, "--pin-stdin", stdin="1234\n")
    assert done.code == 1
    assert done.out == ""
    assert done.err.splitlines() == [
        "error: service: is too long — Shorten it.",
        "  service: is too long",
    ]
    assert demo.asked[-1].method == "DELETE"


def test_a_given_card_session_is_used_and_left_open(demo: FakeDaemon, cardd: Cardd) -> None:
    done = cardd(*ORDER, "--structure", STRUCTURE.id, "--card-session", "mine", "--card", "00000017")
    assert done.code == 0, done.err
    assert [(each.method, each.headers.get("Card-Session")) for each in demo.asked] == [("POST", "mine")]


def test_json_is_the_daemons_answer_and_nothing_else(demo: FakeDaemon, cardd: Cardd) -> None:
    done = cardd(*ORDER, "--pin-stdin", "--json", stdin="1234\n")
    assert json.loads(done.out)["id"] == "order-1"
    assert done.err == ""


def test_a_wrong_pin_says_how_many_tries_are_left(demo: FakeDaemon, cardd: Cardd) -> None:
    demo.on(
        "POST", "/cards/00000017/session", problem(403, "pin_incorrect", "The PIN is wrong.", tries_left=2)
    )
    done = cardd(*ORDER, "--pin-stdin", stdin="9999\n")
    assert done.code == 5
    assert done.err.splitlines() == ["error: The PIN is wrong.", "  tries_left: 2"]
    assert "9999" not in done.err


def test_without_a_terminal_a_pin_is_never_guessed(demo: FakeDaemon, cardd: Cardd) -> None:
    done = cardd(*ORDER)
    assert done.code == 2
    assert "--pin-file" in done.err
    assert [each.method for each in demo.asked] == ["GET"]


def test_several_cards_present_have_to_be_chosen_from(demo: FakeDaemon, cardd: Cardd) -> None:
    both = [card(), card("00000025")]
    demo.on("GET", "/cards", Scripted(200, {"items": both, "next_cursor": None}))
    done = cardd(*ORDER, "--pin-stdin", stdin="1234\n")
    assert done.code == 2
    assert "00000017, 00000025" in done.err


def test_the_pin_is_the_first_line_and_the_code_the_second(
    demo: FakeDaemon, cardd: Cardd, tmp_path: Path
) -> None:
    demo.on("POST", "/orders/order-1/retrieval", Scripted(201, certificate()))
    target = tmp_path / "me.pem"
    done = cardd(
        "retrieve", "order-1", "--accept-terms", "--pin-stdin", "--code-stdin", "--output", str(target),
        stdin="1234\nmy-code\n",
    )  # fmt: skip
    assert done.code == 0, done.err
    sent = next(each for each in demo.asked if each.target.endswith("/retrieval"))
    assert sent.body == {"revocation_code": "my-code", "confirmation": "my-code", "accept_terms": True}
    assert target.read_text() == certificate().pem


def test_a_certificate_may_have_no_code_if_one_says_so(demo: FakeDaemon, cardd: Cardd) -> None:
    demo.on("POST", "/orders/order-1/retrieval", Scripted(201, certificate()))
    asked = ("retrieve", "order-1", "--accept-terms", "--without-code", "--pin-stdin")
    assert cardd(*asked, stdin="1234\n").code == 0
    sent = next(each for each in demo.asked if each.target.endswith("/retrieval"))
    assert sent.body == {"without_code": True, "accept_terms": True}
    done = cardd(*asked, "--code-stdin", stdin="1234\nmy-code\n")
    assert done.code == 2
    assert "--without-code" in done.err


def test_terms_are_not_accepted_for_anybody(demo: FakeDaemon, cardd: Cardd) -> None:
    done = cardd("retrieve", "order-1", "--pin-stdin", "--code-stdin", stdin="1234\nmy-code\n")
    assert done.code == 2
    assert "--accept-terms" in done.err
    assert demo.asked == []


def test_a_revocation_wants_a_yes(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("POST", "/certificates/0a1b/revocation", Scripted(200, certificate()))
    assert cardd("revoke", "0a1b", "--reason", "superseded").code == 2
    assert fake.asked == []
    assert cardd("revoke", "0a1b", "--reason", "superseded", "--yes").code == 0
    assert fake.asked[0].body == {"reason": "superseded", "revocation_code": None}


def test_tracking_shows_an_order_and_its_certificate(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("GET", "/orders/order-1", Scripted(200, order(certificate="0a1b")))
    fake.on("GET", "/certificates/0a1b", Scripted(200, certificate()))
    done = cardd("track", "order-1")
    assert done.code == 0, done.err
    assert "order.created" in done.out
    assert "CN=TEST AC" in done.out


def test_tracking_takes_a_certificates_serial_too(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("GET", "/certificates/0a1b", Scripted(200, certificate()))
    done = cardd("track", "0a1b", "--json")
    assert json.loads(done.out)["serial"] == "0a1b"


def test_lists_send_their_filters_and_say_how_to_go_on(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("GET", "/orders", Scripted(200, {"items": [order()], "next_cursor": "c2"}))
    done = cardd("order", "list", "--state", "to_retrieve", "--search", "é&b", "--limit", "1")
    assert fake.asked[0].target == "/api/v1/orders?state=to_retrieve&q=%C3%A9%26b&limit=1"
    assert "EMA" in done.out
    assert "--cursor c2" in done.err


def test_a_form_in_toml_is_submitted_as_json(fake: FakeDaemon, cardd: Cardd, tmp_path: Path) -> None:
    fake.on("POST", "/habilitations", problem(422, "invalid_fields", "siret: wrong check digit"))
    form = tmp_path / "form.toml"
    form.write_text(cardd("habilitation", "form").out)
    assert cardd("habilitation", "submit", str(form)).code == 1
    assert fake.asked[0].body["recipient"]["last_name"] == "MARTIN"
    assert fake.asked[0].body["offers"][0]["usages"] == ["AUTH_CLI", "SIGN"]


def test_a_change_of_pin_reads_the_old_one_and_the_new_one(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("PUT", "/cards/00000017/pin", Scripted(204))
    assert cardd("card", "pin", "00000017", "--pin-stdin", stdin="1234\n4321\n").code == 0
    assert fake.asked[0].body == {"old": "1234", "new": "4321", "accept_final_try": False}


def test_a_broken_journal_is_exit_code_6(fake: FakeDaemon, cardd: Cardd) -> None:
    report = {"valid": False, "entries": 3, "head": "00", "broken_at": 4, "reason": "the line was changed"}
    fake.on("GET", "/audit/verification", Scripted(200, report))
    done = cardd("audit", "verify")
    assert done.code == 6
    assert "the line was changed" in done.out


def test_a_daemon_that_is_not_well_is_exit_code_6(fake: FakeDaemon, cardd: Cardd) -> None:
    parts = [{"name": "store", "ok": False, "detail": {"en": "disk full", "fr": "disque plein"}}]
    fake.on("GET", "/health", Scripted(503, {"status": "failing", "version": "0.1.0", "parts": parts}))
    done = cardd("status")
    assert done.code == 6
    assert "disk full" in done.out


def test_events_are_followed_and_taken_up_after_a_break(fake: FakeDaemon, cardd: Cardd) -> None:
    def told(number: int) -> bytes:
        data = {
            "id": number,
            "at": "2026-01-31T12:00:00Z",
            "type": "order.created",
            "subject": "order:1",
            "data": {},
        }
        return f": hello\n\nid: {number}\nevent: order.created\ndata: {json.dumps(data)}\n\n".encode()

    fake.on("GET", "/events", *(Scripted(200, told(number), "text/event-stream") for number in (7, 8)))
    done = cardd("events", "follow", "--count", "2", "--json")
    assert [json.loads(line)["id"] for line in done.out.splitlines()] == [7, 8]
    assert [each.headers.get("Last-Event-ID") for each in fake.asked] == [None, "7"]


def test_the_token_is_sent_and_never_shown(fake: FakeDaemon, cardd: Cardd) -> None:
    fake.on("GET", "/readers", Scripted(200, []))
    fake.on("GET", "/tokens", Scripted(200, []))
    fake.on("GET", "/health", Scripted(200, {"status": "ok"}))
    done = cardd("diagnose")
    assert done.code == 0
    assert fake.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in done.out + done.err


def test_control_characters_of_the_daemons_data_do_not_reach_the_terminal(
    fake: FakeDaemon, cardd: Cardd
) -> None:
    fake.on("GET", "/orders", Scripted(200, {"items": [order(label="\x1b[2Jbad")], "next_cursor": None}))
    assert "\x1b" not in cardd("order", "list").out


def test_french_speakers_get_french(fake: FakeDaemon, cardd: Cardd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "fr_FR.UTF-8")
    fake.on("GET", "/readers", Scripted(200, []))
    assert cardd("readers").err == "Aucun lecteur.\n"
    assert fake.asked[0].headers["Accept-Language"] == "fr"
    fake.on("GET", "/readers", problem(403, "forbidden", "Interdit."))
    assert cardd("readers").err == "erreur : Interdit.\n"
