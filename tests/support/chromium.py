"""Chromium from the distribution, its pages watched for complaints and for requests that leave the machine."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from playwright import sync_api

from tests.support.running import RunningDaemon

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or ""
MISSING = "the pages are shown in Chromium: apt install chromium"


@contextmanager
def launched(*arguments: str) -> Iterator[sync_api.Browser]:
    """Run Chromium for the length of a block; as root, it runs only without its sandbox."""
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*as_root, *arguments])
        yield browser
        browser.close()


class Watched:
    """A page in a context of its own, whose requests and complaints are noted."""

    def __init__(self, browser: sync_api.Browser, daemon: RunningDaemon, **options: Any) -> None:
        self.daemon = daemon
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._hear)

    def sign_in(self) -> "Watched":
        """Open the link that `cardd open` prints."""
        link = self.daemon.cli("open", "--print-only").stdout.strip()
        assert link.startswith(f"{self.daemon.address}/ouvrir?lien=")
        self.page.goto(link)
        assert self.page.url == f"{self.daemon.address}/"
        return self

    def go(self, path: str) -> None:
        """Open a page of the daemon."""
        self.page.goto(self.daemon.address + path)

    def shows(self, sentence: str) -> None:
        """Wait until the page says something."""
        sync_api.expect(self.page.locator("body")).to_contain_text(sentence)

    def send(self, name: str) -> None:
        """Press the button of this name."""
        self.page.get_by_role("button", name=name, exact=True).click()

    def close(self) -> None:
        """Close the page; it must have had nothing to complain of, and asked nothing of anybody else."""
        elsewhere = {url for url in self.requested if not url.startswith(self.daemon.address)}
        complaints = list(self.complaints)
        self.context.close()
        assert complaints == []
        assert elsewhere == set()

    def _hear(self, message: sync_api.ConsoleMessage) -> None:
        # Chromium says so of every answer that is an error; tests ask for some.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)


def focus_is_visible(page: sync_api.Page) -> bool:
    """Tell whether what has the focus is marked, inside the window (WCAG 2.2, 2.4.7 and 2.4.11)."""
    return bool(
        page.evaluate(
            """() => {
                const element = document.activeElement;
                if (!element || element === document.body) return false;
                const style = getComputedStyle(element), box = element.getBoundingClientRect();
                const marked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
                return marked && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
            }"""
        )
    )


def press_until(page: sync_api.Page, key: str, selector: str, *, most: int = 80) -> None:
    """Press a key until what the selector names has the focus, seeing the focus at each step."""
    for _ in range(most):
        page.keyboard.press(key)
        assert focus_is_visible(page), page.evaluate("document.activeElement.outerHTML.slice(0, 200)")
        if page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
    raise AssertionError(f"{selector} is not reached with {key}")


def violations(page: sync_api.Page, axe: Any, *, only: str | None = None) -> Sequence[tuple[str, list[str]]]:
    """Return what axe-core finds on a page, by all its rules or one: rule and elements.

    The page must have been judged at all.
    """
    result = axe.run(page, options={"runOnly": [only]} if only else None).response
    assert result["passes"]
    return [(each["id"], [node["html"] for node in each["nodes"]]) for each in result["violations"]]
