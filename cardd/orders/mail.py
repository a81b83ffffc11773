"""Sending one e-mail through the operator's mail server."""

import asyncio
from email.message import EmailMessage
from pathlib import Path

import aiosmtplib

from cardd.settings import SmtpSettings

#: Seconds that one delivery may take.
_TIME_LIMIT = 30.0


class DeliveryError(Exception):
    """A message was not taken; `permanent` tells whether trying again is pointless (RFC 5321 §4.2.1)."""

    def __init__(self, reason: str, *, permanent: bool) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Mailer:
    """The operator's mail server."""

    def __init__(self, settings: SmtpSettings) -> None:
        self._settings = settings

    @property
    def configured(self) -> bool:
        """Whether there is a mail server at all."""
        return bool(self._settings.host)

    async def send(self, recipient: str, subject: str, body: str) -> None:
        """Send a plain text message; raises `DeliveryError`."""
        settings = self._settings
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = settings.sender, recipient, subject
        message.set_content(body)
        try:
            await aiosmtplib.send(
                message,
                hostname=settings.host,
                port=settings.port,
                username=settings.username or None,
                password=await self._password(),
                use_tls=settings.security == "tls",
                start_tls=settings.security == "starttls",
                timeout=_TIME_LIMIT,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            codes = [refused.code for refused in error.recipients]
            raise DeliveryError(str(error), permanent=all(code >= 500 for code in codes)) from error
        except aiosmtplib.SMTPResponseException as error:
            raise DeliveryError(str(error), permanent=False) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise DeliveryError(f"{type(error).__name__}: {error}", permanent=False) from error

    async def _password(self) -> str | None:
        if not self._settings.password_file:
            return None
        text = await asyncio.to_thread(Path(self._settings.password_file).read_text, encoding="utf-8")
        return text.partition("\n")[0]
