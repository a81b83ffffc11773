"""The holder's consent: an application that uses a key of a card asks its holder, once in each card session.

Consent lives as long as a card session at most, and both live in this process only. What is asked and
answered is journalled.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

import msgspec

from cardd.applications.credentials import new_id
from cardd.applications.errors import ConsentDeniedError, ConsentUnansweredError, TooManyConsentsError
from cardd.applications.types import (
    ApplicationId,
    ApplicationView,
    ConsentId,
    ConsentView,
    KeyOperation,
    KeyUse,
)
from cardd.clock import Clock
from cardd.errors import NotFoundError
from cardd.events import EventType
from cardd.store import Store
from cardd.text import Text


class ConsentPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How long a holder has to answer, and how much is asked at once."""

    answer_within: timedelta = timedelta(seconds=60)
    most_pending: int = 16
    most_of_one: int = 4
    """Questions of one application at once."""
    most_remembered: int = 1000
    """Answers kept; of the oldest, the holder is asked again."""


class _Subject(NamedTuple):
    """What one answer is about; which mechanism is used is told to the holder, but not asked anew for each."""

    application: ApplicationId
    card_session: str
    operation: KeyOperation
    role: str


class _Question:
    """A question that waits, and those who wait for its answer."""

    def __init__(self, view: ConsentView) -> None:
        self.view = view
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.waiting = 0


class Consents:
    """The questions that wait for a holder, and the answers given."""

    def __init__(self, store: Store, clock: Clock, policy: ConsentPolicy | None = None) -> None:
        self.policy = policy or ConsentPolicy()
        self._store = store
        self._clock = clock
        self._answers: OrderedDict[_Subject, bool] = OrderedDict()
        self._questions: dict[_Subject, _Question] = {}

    @property
    def pending(self) -> Sequence[ConsentView]:
        """What waits for an answer, the oldest first."""
        return [question.view for question in self._questions.values() if not question.answer.done()]

    async def require(self, application: ApplicationView, card: str, card_session: str, use: KeyUse) -> None:
        """Go on once the card's holder agrees to this use in this session; who agreed is not asked again.

        Raises:
            ConsentDeniedError: now, or before in this session.
            ConsentUnansweredError
            TooManyConsentsError
        """
        subject = _Subject(application.id, card_session, use.operation, use.role)
        known = self._answers.get(subject)
        if known is None:
            known = await self._asked(subject, application, card, use)
        if not known:
            raise ConsentDeniedError(
                Text(
                    f"The holder of card {card} does not want {application.name} to {use.operation} "
                    f"with the {use.role} key.",
                    f"Le porteur de la carte {card} ne veut pas que {application.name} utilise la clé "
                    f"« {use.role} » ({use.operation}).",
                )
            )

    async def decide(self, consent_id: str, *, agreed: bool) -> None:
        """Answer a question; raises `NotFoundError` where it waits no longer."""
        subject, question = self._found(consent_id)
        kind = EventType.CONSENT_GRANTED if agreed else EventType.CONSENT_DENIED
        await self._record(kind, question.view)
        self._answers[subject] = agreed
        while len(self._answers) > self.policy.most_remembered:
            self._answers.popitem(last=False)
        if not question.answer.done():
            question.answer.set_result(agreed)

    async def _asked(self, subject: _Subject, application: ApplicationView, card: str, use: KeyUse) -> bool:
        """Ask, or wait with those who have asked the same already."""
        question = self._questions.get(subject)
        if question is None:
            question = self._questions[subject] = _Question(self._new(application, card, use))
            try:
                await self._record(EventType.CONSENT_ASKED, question.view)
            except BaseException:
                self._questions.pop(subject, None)
                raise
        question.waiting += 1
        try:
            return await self._answer_of(question)
        finally:
            question.waiting -= 1
            if question.waiting == 0 and self._questions.get(subject) is question:
                del self._questions[subject]
                if not question.answer.done():
                    await asyncio.shield(self._record(EventType.CONSENT_ENDED, question.view))

    async def _answer_of(self, question: _Question) -> bool:
        over = asyncio.ensure_future(self._expiry(question.view))
        either: set[asyncio.Future[bool] | asyncio.Future[None]] = {question.answer, over}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            over.cancel()
        if not question.answer.done():
            seconds = int(self.policy.answer_within.total_seconds())
            raise ConsentUnansweredError(
                Text(
                    f"No answer came within {seconds} seconds.",
                    f"Aucune réponse en {seconds} secondes.",
                )
            )
        return question.answer.result()

    async def _expiry(self, view: ConsentView) -> None:
        await self._clock.pause(view.expires_at - self._clock.now())

    def _new(self, application: ApplicationView, card: str, use: KeyUse) -> ConsentView:
        own = sum(each.application == application.id for each in self.pending)
        if own >= self.policy.most_of_one or len(self.pending) >= self.policy.most_pending:
            raise TooManyConsentsError(
                Text(
                    "The holder has not answered those before.", "Le porteur n’a pas répondu aux précédentes."
                ),
                retry_after=int(self.policy.answer_within.total_seconds()),
            )
        now = self._clock.now()
        return ConsentView(
            id=ConsentId(new_id()), application=application.id, name=application.name,
            origin=application.origin, card=card, use=use, asked_at=now,
            expires_at=now + self.policy.answer_within,
        )  # fmt: skip

    async def _record(self, kind: EventType, view: ConsentView) -> None:
        use = view.use
        details = {
            "consent": view.id, "name": view.name, "card": view.card, "operation": use.operation.value,
            "role": use.role, "mechanism": use.mechanism,
        }  # fmt: skip
        async with self._store.transaction() as tx:
            tx.journal(kind.value, f"application:{view.application}", **details)
            tx.publish(kind, f"application:{view.application}", **details)

    def _found(self, consent_id: str) -> tuple[_Subject, _Question]:
        for subject, question in self._questions.items():
            if question.view.id == consent_id and not question.answer.done():
                return subject, question
        raise NotFoundError.of(Text("question to a holder", "question au porteur"), consent_id)
