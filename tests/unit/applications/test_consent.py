"""The holder's consent: asked once a session and use, answered, denied, or left alone."""

import asyncio
from datetime import timedelta

import pytest

from cardd.applications.errors import ConsentDeniedError, ConsentUnansweredError, TooManyConsentsError
from cardd.applications.types import ApplicationView, ConsentView, KeyOperation, KeyUse, Scope
from cardd.errors import NotFoundError
from cardd.events import EventType
from tests.unit.applications.conftest import Rooms

CARD = "00000017"
SIGN = KeyUse(operation=KeyOperation.SIGN, role="signature", mechanism="sha256_rsa_pkcs")
DECRYPT = KeyUse(operation=KeyOperation.DECRYPT, role="technical", mechanism="rsa_pkcs_oaep")


async def _application(rooms: Rooms) -> ApplicationView:
    holder = await rooms.applications.holder_of(await rooms.paired(Scope.SIGN))
    assert holder is not None
    return holder


def _use(
    rooms: Rooms, application: ApplicationView, use: KeyUse = SIGN, session: str = "s1"
) -> asyncio.Task[None]:
    return asyncio.create_task(rooms.consents.require(application, CARD, session, use))


async def _question(rooms: Rooms) -> ConsentView:
    """Wait until a question is asked, and return it."""
    with rooms.bus.subscribe() as subscription:
        while (await subscription.next()).type is not EventType.CONSENT_ASKED:
            pass
    return rooms.consents.pending[-1]


async def test_a_holder_who_agrees_is_not_asked_again_in_that_session(rooms: Rooms) -> None:
    application = await _application(rooms)
    using = _use(rooms, application)
    question = await _question(rooms)
    assert (question.name, question.card, question.use) == ("Logiciel", CARD, SIGN)
    await rooms.consents.decide(question.id, agreed=True)
    await using
    await _use(rooms, application)
    assert list(rooms.consents.pending) == []


@pytest.mark.parametrize(("use", "session"), [(DECRYPT, "s1"), (SIGN, "s2")])
async def test_another_use_or_session_asks_again(rooms: Rooms, use: KeyUse, session: str) -> None:
    application = await _application(rooms)
    using = _use(rooms, application)
    await rooms.consents.decide((await _question(rooms)).id, agreed=True)
    await using
    again = _use(rooms, application, use, session)
    await rooms.consents.decide((await _question(rooms)).id, agreed=True)
    await again


async def test_a_denial_holds_for_the_session_and_is_journalled(rooms: Rooms) -> None:
    application = await _application(rooms)
    using = _use(rooms, application)
    await rooms.consents.decide((await _question(rooms)).id, agreed=False)
    for attempt in (using, _use(rooms, application)):
        with pytest.raises(ConsentDeniedError):
            await attempt
    (line,) = [line for line in await rooms.store.journal() if line.action == "consent.denied"]
    assert line.subject == f"application:{application.id}"
    assert (line.details["card"], line.details["operation"], line.details["role"]) == (
        CARD,
        "sign",
        "signature",
    )


async def test_silence_is_no_consent_and_is_asked_again(rooms: Rooms) -> None:
    application = await _application(rooms)
    using = _use(rooms, application)
    question = await _question(rooms)
    rooms.clock.advance(rooms.consents.policy.answer_within + timedelta(seconds=1))
    with pytest.raises(ConsentUnansweredError):
        await using
    with pytest.raises(NotFoundError):
        await rooms.consents.decide(question.id, agreed=True)
    again = _use(rooms, application)
    await rooms.consents.decide((await _question(rooms)).id, agreed=True)
    await again
    assert ("consent.ended", "application") in await rooms.lines()


async def test_two_at_once_are_one_question(rooms: Rooms) -> None:
    application = await _application(rooms)
    both = [_use(rooms, application), _use(rooms, application)]
    await rooms.consents.decide((await _question(rooms)).id, agreed=True)
    await asyncio.gather(*both)
    assert [action for action, _ in await rooms.lines()].count("consent.asked") == 1


async def test_a_use_that_is_cut_short_takes_its_question_back(rooms: Rooms) -> None:
    application = await _application(rooms)
    using = _use(rooms, application)
    await _question(rooms)
    using.cancel()
    with pytest.raises(asyncio.CancelledError):
        await using
    assert list(rooms.consents.pending) == []


async def test_one_application_cannot_bury_the_holder_in_questions(rooms: Rooms) -> None:
    application = await _application(rooms)
    waiting = [
        _use(rooms, application, session=f"s{number}") for number in range(rooms.consents.policy.most_of_one)
    ]
    with rooms.bus.subscribe() as subscription:
        for _ in waiting:
            while (await subscription.next()).type is not EventType.CONSENT_ASKED:
                pass
    with pytest.raises(TooManyConsentsError):
        await _use(rooms, application, session="one more")
    for using in waiting:
        using.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
