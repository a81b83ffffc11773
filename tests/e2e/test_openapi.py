"""Calls generated from the published OpenAPI document, against a whole daemon: no 5xx, nothing undocumented."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from tests.support.openapi import CHECKS, published_schema
from tests.support.running import RunningDaemon

schema = published_schema()


class Target:
    """A daemon of these tests alone, since the calls block, oppose and withdraw what they can."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.address = daemon.address
        session, habilitation = daemon.open_session()
        self.headers = {"Authorization": f"Bearer {daemon.token}", "Card-Session": session}
        made = daemon.call(
            "POST",
            "/api/v1/orders",
            {
                "offer": "ORG",
                "usage": "AUTH_CLI",
                "structure": habilitation["structures"][0]["id"],
                "service": "OPENAPI",
                "contacts": ["tests@example.org"],
            },
            headers={"Card-Session": session},
        )
        order = made.of(201).json["id"]
        codes = {"revocation_code": "code-1234", "confirmation": "code-1234", "accept_terms": True}
        path = f"/api/v1/orders/{order}/retrieval"
        retrieved = daemon.call("POST", path, codes, headers={"Card-Session": session})
        certificate = retrieved.of(200, 201).json["serial"]
        card = daemon.call("GET", "/api/v1/cards").json["items"][0]["serial"]
        self._known = {"orders": order, "certificates": certificate, "habilitations": habilitation["id"]}
        self._card = card

    def aim(self, case: schemathesis.Case[Any]) -> None:
        """Point every other call at something that exists, so that calls get past the first 404."""
        given: dict[str, Any] = case.path_parameters or {}
        for name, value in given.items():
            if len(str(value)) % 2 == 0:
                given[name] = self._known.get(case.path.split("/")[3], self._card)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    daemon = RunningDaemon(tmp_path_factory.mktemp("openapi") / "state")
    try:
        yield Target(daemon.start())
    finally:
        daemon.kill()


@schema.parametrize()
@settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_call_of_a_whole_daemon_answers_as_documented(
    case: schemathesis.Case[Any], target: Target
) -> None:
    target.aim(case)
    case.call_and_validate(base_url=target.address, headers=target.headers, checks=CHECKS, timeout=30)
