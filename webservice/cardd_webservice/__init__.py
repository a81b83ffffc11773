"""The local web service: guard, API, published revocation data and pages, over the daemon's rooms."""

from cardd_webservice.application import create_application
from cardd_webservice.errors import PortTakenError
from cardd_webservice.guard.tokens import ensure_owner_token, ensure_request_secret
from cardd_webservice.server import Reservation, reserve_port, serving
from cardd_webservice.services import Services

__all__ = [
    "PortTakenError",
    "Reservation",
    "Services",
    "create_application",
    "ensure_owner_token",
    "ensure_request_secret",
    "reserve_port",
    "serving",
]
