"""Applications paired with a served web service, through its API."""

from cardd.applications.types import Scope
from tests.support.webservice import Running

ORIGIN = "https://app.example"


async def paired(service: Running, *scopes: Scope, origin: str | None = None, name: str = "Logiciel") -> str:
    """Pair an application, and return its token."""
    headers = {} if origin is None else {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
    body = {"name": name, "scopes": [scope.value for scope in scopes], "origin": origin}
    status, ticket = await service.json("POST", "/api/v1/pairings", token=None, json=body, headers=headers)
    assert status == 201, ticket
    path = f"/api/v1/pairings/{ticket['id']}"
    status, application = await service.json("POST", f"{path}/approval", json={"code": ticket["code"]})
    assert status == 201, application
    status, outcome = await service.json(
        "POST", f"{path}/token", token=None, json={"secret": ticket["secret"]}, headers=headers
    )
    assert status == 200, outcome
    return str(outcome["token"])
