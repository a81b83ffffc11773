"""A signed-in browser over a served web service, as far as headers go."""

import re
from urllib.parse import urlencode

import aiohttp

from cardd_webservice.guard.browsers import cookie_name
from tests.support.webservice import Running

_TOKEN = re.compile(r'name="_jeton" value="([^"]+)"')


class Browser:
    """A signed-in browser, as far as headers go."""

    def __init__(self, service: Running, cookie: str) -> None:
        self.service = service
        self.port = int(service.address.rsplit(":", 1)[1])
        self.cookie = f"{cookie_name(self.port)}={cookie}"

    async def get(self, path: str, **headers: str) -> tuple[aiohttp.ClientResponse, str]:
        sent = {"Cookie": self.cookie, "Sec-Fetch-Site": "same-origin"} | headers
        async with self.service.call("GET", path, token=None, headers=sent) as response:
            return response, await response.text()

    async def post(self, path: str, form: dict[str, str], **headers: str) -> tuple[int, str, str]:
        sent = {
            "Cookie": self.cookie,
            "Origin": self.service.address,
            "Sec-Fetch-Site": "same-origin",
            "Content-Type": "application/x-www-form-urlencoded",
        } | headers
        kept = {name: value for name, value in sent.items() if value}
        async with self.service.call(
            "POST", path, token=None, headers=kept, data=urlencode(form), allow_redirects=False
        ) as response:
            return response.status, await response.text(), response.headers.get("Location", "")

    async def token(self) -> str:
        found = _TOKEN.search((await self.get("/cartes"))[1])
        assert found is not None
        return found[1]


async def signed_in(service: Running) -> Browser:
    """Sign a browser in by a link, and look at the cookie it is given."""
    status, made = await service.json("POST", "/api/v1/ihm/links", json={})
    assert status == 201
    async with service.call("GET", made["path"], token=None, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/")
        set_cookie = response.headers["Set-Cookie"]
    name, _, rest = set_cookie.partition("=")
    assert name == cookie_name(int(service.address.rsplit(":", 1)[1]))
    attributes = {part.strip().lower() for part in rest.split(";")[1:]}
    assert attributes == {"httponly", "path=/", "samesite=strict"}
    return Browser(service, rest.split(";")[0])
