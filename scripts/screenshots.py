"""Makes the screenshots of docs/images again: a daemon of its own, the whole job, Chromium; `make images`.

Run as `python -m scripts.screenshots [--all] [--scheme dark] [--locale en-GB] [--width 320] [directory]`. Needs
pngquant, a package of the distribution: a picture is to weigh 40 kB at most.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.support.chromium import Watched, launched
from tests.support.running import QUICK, RunningDaemon

_CODE = "code-de-revocation-1"
_HEIGHT = 760
_COLOURS = "32"
#: The pictures that docs/ihm.md shows; `--all` takes one of every page.
_SHOWN = ("etat", "demander-champs", "certificat", "suivre", "revoquer", "crl")
_OTHERS = (
    "/", "/cartes", "/cartes/nouvelle", "/habilitations", "/habilitations/nouvelle", "/journal?verifier=1",
    "/diagnostic",
)  # fmt: skip


class Photographer:
    """Goes through the job, and takes a picture of each page on the way."""

    def __init__(self, watched: Watched, directory: Path, *, every_page: bool) -> None:
        self._every_page = every_page
        self._watched = watched
        self._page = watched.page
        self._directory = directory

    def take(self, name: str) -> None:
        """Take a picture of what is shown, no higher than it has to be."""
        if name not in _SHOWN and not self._every_page:
            return
        page, file = self._page, self._directory / f"{name}.png"
        bottom = page.evaluate(
            "Math.ceil(document.querySelector('footer').getBoundingClientRect().bottom + scrollY)"
        )
        width = page.evaluate("innerWidth")
        page.screenshot(
            path=file, full_page=True, clip={"x": 0, "y": 0, "width": width, "height": min(bottom, _HEIGHT)}
        )
        subprocess.run(["pngquant", "--force", "--strip", "--output", file, _COLOURS, file], check=True)  # noqa: S603, S607

    def at(self, path: str, name: str) -> None:
        """Take a picture of a page."""
        self._watched.go(path)
        self.take(name)

    def job(self) -> None:
        """Order, retrieve, track, revoke."""
        page = self._page
        self.at("/demander", "sans-carte")
        page.locator("form.pin input[name=pin]").first.fill("1234")
        page.keyboard.press("Enter")
        page.wait_for_selector(".steps")
        self.take("demander")
        serial = self._certificate("INSI-AUTO")
        self.at("/suivre", "suivre")
        self.at(f"/revoquer/{serial}", "revoquer")
        page.locator("input[value=superseded]").check()
        page.locator("#confirmation").fill("INSI-AUTO")
        page.locator("button.danger").click()
        page.wait_for_url("**/suivre/certificats/*")
        self._certificate("DMP-CLIENT")
        self.at("/crl", "crl")
        for path in _OTHERS:
            self.at(path, path.partition("?")[0].strip("/").replace("/", "-") or "etat")

    def _certificate(self, service: str) -> str:
        page = self._page
        self._watched.go("/demander")
        page.locator(".choices a[href*='offer=ORG']").first.click()
        page.locator(".choices a[href*='usage=AUTH_CLI']").click()
        page.locator("#service").fill(service)
        page.locator("#contacts").fill("exploitation@hopital.example")
        self.take("demander-champs")
        page.locator(".actions button").click()
        page.wait_for_url("**/retirer/*")
        self.take("retirer")
        for field in ("revocation_code", "confirmation"):
            page.locator(f"#{field}").fill(_CODE)
        page.locator("#accept_terms").check()
        page.locator(".actions button").click()
        page.wait_for_url("**/suivre/certificats/*")
        self.take("certificat")
        return page.url.rsplit("/", 1)[1]


def main() -> None:
    """Make them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path, default=Path("docs/images"))
    parser.add_argument("--all", action="store_true", help="one of every page")
    parser.add_argument("--scheme", choices=["light", "dark"], default="light")
    parser.add_argument("--locale", default="fr-FR")
    parser.add_argument("--width", type=int, default=960)
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, launched() as browser:
        daemon = RunningDaemon(Path(scratch) / "state", {**QUICK, "CARDD_READERS__VIRTUAL": "auto"})
        daemon.init()
        daemon.start()
        try:
            viewport: Any = {"width": given.width, "height": _HEIGHT}
            watched = Watched(
                browser, daemon, locale=given.locale, color_scheme=given.scheme, viewport=viewport
            )
            Photographer(watched.sign_in(), given.directory, every_page=given.all).job()
            watched.close()
        finally:
            daemon.end()


if __name__ == "__main__":
    main()
