"""Sending one event: posted to a webhook with its signature, or as an e-mail in both languages."""

from datetime import datetime

import aiohttp
import msgspec

from cardd.events import Event, EventType
from cardd.orders.mail import DeliveryError, Mailer
from cardd.outgoing.deliveries import NotTakenError
from cardd.outgoing.routes import MAIL
from cardd.outgoing.signing import SigningSecret

_SECONDS = 15.0
#: The receiver is gone for good (Standard Webhooks).
_GONE = 410


class Outgoing:
    """The way out; close it when done."""

    def __init__(self, mailer: Mailer, secret: SigningSecret | None) -> None:
        self.mailer = mailer
        self.secret = secret
        self._http: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """End connections."""
        if self._http is not None:
            await self._http.close()

    async def send(self, target: str, event: Event, at: datetime) -> None:
        """Send an event; raises `NotTakenError`."""
        if target.startswith(MAIL):
            await self._mail(target.removeprefix(MAIL), event)
        else:
            await self._post(target, event, at)

    async def _post(self, url: str, event: Event, at: datetime) -> None:
        """Post an event; no redirect is followed, since it would take signed data elsewhere."""
        if self.secret is None:
            raise NotTakenError("there is no signing secret")
        if self._http is None:
            self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS))
        message = {"type": event.type, "timestamp": event.at, "subject": event.subject, "data": event.data}
        body = msgspec.json.encode(message)
        headers = {"Content-Type": "application/json", **self.secret.headers(f"evt_{event.id}", at, body)}
        try:
            async with self._http.post(url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotTakenError(f"{type(error).__name__}") from error
        if not 200 <= status < 300:
            raise NotTakenError(f"HTTP {status}", permanent=status == _GONE)

    async def _mail(self, recipient: str, event: Event) -> None:
        subject, body = wording(event)
        try:
            await self.mailer.send(recipient, subject, body)
        except DeliveryError as error:
            raise NotTakenError(str(error), permanent=error.permanent) from error


def wording(event: Event) -> tuple[str, str]:
    """Return subject and body of the e-mail for an alert: French first, then English."""
    french, english = _STAGES[event.type]
    kind = event.data.get("kind", event.type)
    lines = [event.data.get("fr"), event.data.get("en"), event.subject, f"{event.at:%Y-%m-%d %H:%M} UTC"]
    body = "\n\n".join(line for line in lines if line)
    return f"[cardd] {french} / {english} : {kind}", f"{body}\n"


_STAGES = {
    EventType.ALERT_RAISED: ("alerte", "alert"),
    EventType.ALERT_REPEATED: ("alerte qui dure", "alert that lasts"),
    EventType.ALERT_CLEARED: ("alerte levée", "alert cleared"),
}
