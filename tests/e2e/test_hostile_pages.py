"""Pages of other origins in a real Chromium that is signed in, with a card session open: none has an effect or data."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from tests.support.running import RunningDaemon

pytest.importorskip("playwright", reason="playwright drives the browser: pip install playwright")

from playwright import sync_api

from tests.support.chromium import CHROMIUM, MISSING, Watched, launched
from tests.support.hostile import HOSTILE_PAGE, hostile_server

pytestmark = pytest.mark.skipif(not CHROMIUM, reason=MISSING)

#: Under every name of this domain Chromium finds this machine: so does a page that rebinds its name.
RESOLVER = "--host-resolver-rules=MAP *.evil.example 127.0.0.1, MAP evil.example 127.0.0.1"
#: Chromium's own question before a page calls this machine would answer for the daemon.
UNGUARDED = "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests"
FOREIGN_HOSTS = ("127.0.0.1", "localhost", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example")
#: What the hostile pages are about, and must not show or change.
WATCHED = ("/cards", "/orders", "/certificates", "/habilitations", "/readers", "/crls")


class Scene(NamedTuple):
    """A signed-in browser with an open card session, and somebody else's server beside the daemon's."""

    daemon: RunningDaemon
    watched: Watched
    card: str
    foreign_port: int

    @property
    def target(self) -> str:
        """The daemon's address."""
        return self.daemon.address

    @property
    def port(self) -> str:
        """The daemon's port."""
        return self.target.rsplit(":", 1)[1]

    def state(self) -> dict[str, Any]:
        """What the daemon holds, without the ages that pass by themselves."""
        held = {path: self.daemon.call("GET", f"/api/v1{path}").json for path in WATCHED}
        return {
            path: answer["items"] if isinstance(answer, dict) else answer for path, answer in held.items()
        }

    def refusals(self) -> float:
        """How many requests the guard has refused."""
        text = self.daemon.call("GET", "/metrics").body.decode()
        return sum(
            float(count)
            for count in re.findall(r"^cardd_guard_refusals_total\{[^}]*\} (\S+)$", text, re.MULTILINE)
        )

    def journal(self) -> list[tuple[int, str, str]]:
        """The newest lines of the journal."""
        lines = self.daemon.call("GET", "/api/v1/audit?limit=200").json["items"]
        return [(line["seq"], line["action"], line["subject"]) for line in lines]


@pytest.fixture(scope="module")
def scene(browsed_daemon: RunningDaemon) -> Iterator[Scene]:
    """Sign in and open a card session, as a person does who then visits other pages."""
    sync_api.expect.set_options(timeout=30_000)
    with hostile_server() as port, launched(RESOLVER, UNGUARDED) as browser:
        watched = Watched(browser, browsed_daemon, locale="fr-FR").sign_in()
        watched.go("/cartes")
        field = watched.page.locator("form.pin input[name=pin]").first
        card = str(field.get_attribute("id")).removeprefix("pin-")
        field.fill("1234")
        field.press("Enter")
        watched.page.wait_for_url("**/demander")
        yield Scene(browsed_daemon, watched, card, port)
        watched.context.close()


@pytest.fixture
def untouched(scene: Scene) -> Iterator[Scene]:
    """Whatever the test does, the daemon's state stays, its journal tells of refusals alone, both sessions live on."""
    before, last = scene.state(), scene.journal()[0][0]
    yield scene
    assert scene.state() == before
    assert {action for seq, action, _ in scene.journal() if seq > last} <= {"guard.refuse"}
    scene.watched.go("/cartes")
    scene.watched.shows("Session ouverte dans ce navigateur")


def _visit(scene: Scene, address: str) -> sync_api.Page:
    page = scene.watched.context.new_page()
    page.goto(address)
    return page


def _obtained(outcomes: list[list[Any]]) -> dict[str, Any]:
    assert len(outcomes) > 100
    return {name: got for name, got in outcomes if got is not None}


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_page_of_another_origin_gets_nothing(untouched: Scene, host: str) -> None:
    page, refused = _visit(untouched, f"http://{host}:{untouched.foreign_port}/"), untouched.refusals()
    outcomes = page.evaluate("([target, card]) => attack(target, card)", [untouched.target, untouched.card])
    assert _obtained(outcomes) == {}
    assert untouched.refusals() - refused > 50
    shown = [frame for frame in page.frames if frame.url.startswith(untouched.target) and frame.content()]
    assert not any("cardd" in frame.content() for frame in shown)
    page.close()


def test_a_sandboxed_frame_of_no_origin_gets_nothing(untouched: Scene) -> None:
    page = _visit(untouched, f"http://127.0.0.1:{untouched.foreign_port}/")
    told = page.evaluate(
        """address => new Promise((resolve) => {
            addEventListener("message", (event) => { if (event.data.found) resolve(event.data); });
            const frame = document.createElement("iframe");
            frame.sandbox = "allow-scripts allow-forms allow-popups";
            frame.src = address;
            document.body.append(frame);
        })""",
        f"/sandbox?target={untouched.target}&card={untouched.card}",
    )
    assert told["origin"] == "null"
    assert _obtained(told["found"]) == {}
    page.close()


def test_a_name_bound_to_this_machine_gets_nothing(untouched: Scene) -> None:
    """The page of a rebound name is of the daemon's own origin, as far as Chromium knows; its Host is not."""
    origin = f"http://evil.example:{untouched.port}"
    page = untouched.watched.context.new_page()
    answer = page.goto(f"{origin}/")
    assert answer is not None
    assert answer.status == 421
    assert untouched.card not in page.content()
    # The page that its own server handed out, before the name was bound to this machine.
    page.route(f"{origin}/before", lambda route: route.fulfill(content_type="text/html", body=HOSTILE_PAGE))
    page.goto(f"{origin}/before")
    outcomes = page.evaluate("([target, card]) => attack(target, card)", [origin, untouched.card])
    obtained = _obtained(outcomes)
    assert len(obtained) > 20
    assert {name: text for name, text in obtained.items() if not text.startswith("421 ")} == {}
    assert not any(untouched.card in text for text in obtained.values())
    page.close()


def test_a_window_that_is_opened_cannot_be_reached(untouched: Scene) -> None:
    page = _visit(untouched, f"http://evil.example:{untouched.foreign_port}/")
    page.evaluate(
        """target => document.querySelector("button").addEventListener("click", () => {
            globalThis.opened = open(target + "/cartes");
        })""",
        untouched.target,
    )
    with untouched.watched.context.expect_page() as opening:
        page.locator("button").click()
    opened = opening.value
    # Until the daemon's page comes the window shows nothing, and is its opener's.
    opened.wait_for_url(f"{untouched.target}/cartes")
    page.wait_for_function("opened.closed")
    reached = page.evaluate(
        """() => {
            const found = [];
            try { found.push(opened.document.body.textContent); } catch {}
            try { found.push(opened.location.href); } catch {}
            opened.postMessage("let me in", "*");
            return found;
        }"""
    )
    assert reached == []
    assert opened.evaluate("window.opener") is None
    opened.close()
    page.close()


def test_the_same_attempts_obtain_much_from_a_page_of_the_daemon_itself(untouched: Scene) -> None:
    """They are real attempts: what refuses them elsewhere is the guard, not a slip of the pen."""
    page = _visit(untouched, f"{untouched.target}/suivre")
    read = page.evaluate(
        """async ([target, card]) => {
            const found = [];
            const text = await (await fetch(target + "/cartes", { credentials: "include" })).text();
            found.push(text.includes(card));
            found.push(await new Promise((resolve) => {
                const source = new EventSource(target + "/nouvelles");
                source.addEventListener("open", () => { source.close(); resolve(true); });
                source.addEventListener("error", () => resolve(false));
            }));
            return found;
        }""",
        [untouched.target, untouched.card],
    )
    assert read == [True, True]
    page.close()


def test_what_was_refused_is_in_the_journal(scene: Scene) -> None:
    page = _visit(scene, f"http://evil.example:{scene.foreign_port}/")
    page.evaluate(
        "target => fetch(target + '/api/v1/cards', { mode: 'no-cors' }).catch(() => {})", scene.target
    )
    page.close()
    refused = [subject for _, action, subject in scene.journal() if action == "guard.refuse"]
    assert refused
    assert all(re.fullmatch(r"guard:[a-z_]+", subject) for subject in refused)
