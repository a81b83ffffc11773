"""An order, from the card's PIN to the certificate, through the web service of a running daemon."""

from typing import Any

from tests.support.running import RunningDaemon

CODE = "code-1234"


def ordered(daemon: RunningDaemon, service: str = "COPY") -> dict[str, Any]:
    """Order and retrieve a certificate for a key on a token; return the order."""
    session, habilitation = daemon.open_session()
    body = {
        "offer": "ORG", "usage": "AUTH_CLI", "structure": habilitation["structures"][0]["id"], "service": service,
        "contacts": ["tests@example.org"], "key": {"source": "token", "algorithm": "ec_p256"},
    }  # fmt: skip
    answer = daemon.call("POST", "/api/v1/orders", body, headers={"Card-Session": session})
    assert answer.status == 201, answer.body
    retrieval = {"revocation_code": CODE, "confirmation": CODE, "accept_terms": True}
    path = f"/api/v1/orders/{answer.json['id']}/retrieval"
    assert daemon.call("POST", path, retrieval, headers={"Card-Session": session}).status == 201
    order: dict[str, Any] = daemon.call("GET", f"/api/v1/orders/{answer.json['id']}").json
    return order
