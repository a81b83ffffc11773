"""Notices: each certificate is told of once, and what cannot be delivered is not lost in silence."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec
import pytest

from cardd.orders.mail import DeliveryError, Mailer
from cardd.orders.notices import RETRY_AFTER, Notices
from cardd.orders.types import RevocationReason, RevocationRequest
from cardd.settings import SmtpSettings
from cardd.store.tables import notices
from tests.support.orders import World, order_request


@dataclass
class Outbox(Mailer):
    """A mail server that notes what it is given, or refuses it."""

    sent: list[tuple[str, str, str]] = field(default_factory=list)
    refusal: DeliveryError | None = None

    def __post_init__(self) -> None:
        super().__init__(SmtpSettings(host="mail.example.fr"))

    async def send(self, recipient: str, subject: str, body: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.sent.append((recipient, subject, body))


def with_mail(world: World, outbox: Outbox) -> Notices:
    return Notices(world.store, world.clock, world.parts.settings, outbox)


async def test_sixty_days_before_the_end_a_certificate_is_told_of_once(world: World) -> None:
    view = await world.retrieve()
    world.clock.advance(view.not_after - world.clock.now() - timedelta(days=60, seconds=1))
    assert await world.notices.queue_due() == 0
    world.clock.advance(timedelta(seconds=1))
    assert await world.notices.queue_due() == 1
    assert await world.notices.queue_due() == 0
    (event,) = [e for e in await world.store.events_after(0) if e.type.value == "certificate.expiring"]
    assert (event.subject, event.data["days_left"]) == (f"certificate:{view.serial}", 60)
    expiring = {row.recipient for row in await world.rows(notices) if row.kind == "expiring"}
    assert expiring == {"a@example.fr", "b@example.fr"}


async def test_a_revoked_or_expired_certificate_is_not_told_of(world: World) -> None:
    revoked, expired = (
        await world.retrieve(),
        await world.retrieve(await world.order(order_request(service="B"))),
    )
    await world.certificates.revoke(revoked.serial, RevocationRequest(reason=RevocationReason.UNSPECIFIED))
    world.clock.advance(expired.not_after - world.clock.now() + timedelta(seconds=1))
    assert await world.notices.queue_due() == 0


async def test_without_a_mail_server_nothing_is_sent_and_nothing_fails(world: World) -> None:
    await world.retrieve()
    assert await world.notices.send_pending() == 0


async def test_each_contact_gets_a_message_in_both_languages_once(world: World) -> None:
    view = await world.retrieve()
    outbox = Outbox()
    sender = with_mail(world, outbox)
    assert await sender.send_pending() == 2
    assert await sender.send_pending() == 0
    assert {recipient for recipient, _, _ in outbox.sent} == {"a@example.fr", "b@example.fr"}
    _, subject, body = outbox.sent[0]
    assert subject.endswith("EMA")
    assert "a été retiré" in body
    assert "was retrieved" in body
    assert view.serial in body


async def test_a_server_that_is_down_is_tried_again_later_and_then_given_up_aloud(world: World) -> None:
    await world.retrieve(await world.order(order_request(contacts=("a@example.fr",))))
    outbox = Outbox(refusal=DeliveryError("down", permanent=False))
    sender = with_mail(world, outbox)
    for wait in RETRY_AFTER:
        assert await sender.send_pending() == 0
        world.clock.advance(wait - timedelta(seconds=1))
        assert await sender.send_pending() == 0
        world.clock.advance(timedelta(seconds=1))
    assert "certificate.notice_failed" not in await world.event_types()
    await sender.send_pending()
    assert (await world.event_types())[-1] == "certificate.notice_failed"
    world.clock.advance(timedelta(days=10))
    outbox.refusal = None
    assert await sender.send_pending() == 0


async def test_an_address_refused_for_good_is_given_up_at_once(world: World) -> None:
    await world.retrieve(await world.order(order_request(contacts=("dead@example.fr",))))
    sender = with_mail(world, Outbox(refusal=DeliveryError("550 no such user", permanent=True)))
    assert await sender.send_pending() == 0
    (event,) = [e for e in await world.store.events_after(0) if e.type.value == "certificate.notice_failed"]
    assert event.data == {"kind": "retrieved", "recipient": "dead@example.fr"}
    (row,) = await world.rows(notices)
    assert row.last_error == "550 no such user"


@asynccontextmanager
async def mail_server(refused: str = "") -> AsyncIterator[tuple[int, list[bytes]]]:
    """A mail server on a free port that keeps what it takes, and refuses one recipient."""
    taken: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := await reader.readline():
            command = line[:4].upper()
            if command == b"RCPT" and refused and refused.encode() in line:
                writer.write(b"550 no such user\r\n")
            elif command == b"DATA":
                writer.write(b"354 go\r\n")
                taken.append(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 ok\r\n")
            elif command == b"QUIT":
                writer.write(b"221 bye\r\n")
                break
            else:
                writer.write(b"250 ok\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], taken


async def test_a_message_goes_through_smtp_as_it_is() -> None:
    async with mail_server() as (port, taken):
        mailer = Mailer(SmtpSettings(host="127.0.0.1", port=port, sender="cardd@example.fr"))
        await mailer.send("a@example.fr", "Certificat révoqué", "Été\n")
    message = email.message_from_bytes(taken[0], policy=email.policy.default)
    assert (message["From"], message["To"]) == ("cardd@example.fr", "a@example.fr")
    assert message["Subject"] == "Certificat révoqué"
    assert "Été" in message.get_content()


async def test_a_recipient_refused_by_smtp_is_refused_for_good() -> None:
    async with mail_server(refused="dead@") as (port, taken):
        mailer = Mailer(SmtpSettings(host="127.0.0.1", port=port))
        with pytest.raises(DeliveryError) as caught:
            await mailer.send("dead@example.fr", "x", "y")
    assert caught.value.permanent
    assert taken == []


async def test_a_server_that_is_not_there_is_not_for_good() -> None:
    async with mail_server() as (port, _):
        pass
    settings = msgspec.structs.replace(SmtpSettings(host="127.0.0.1"), port=port)
    with pytest.raises(DeliveryError) as caught:
        await Mailer(settings).send("a@example.fr", "x", "y")
    assert not caught.value.permanent
