"""Answers: which lists speak of a certificate, what they say, and how far they can be relied on.

Pure over a snapshot of the index. A certificate is good only where the lists held cover its kind and every
reason (RFC 5280 §6.3.3); what is not covered is unknown, never good.

All that does not depend on the serial is decided once, in a `Standing`: it holds until the next moment at which
one of its lists ages, and an answer is a look-up in each of them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from cryptography import x509

from cardd.revocation.entries import REMOVE_FROM_CRL, VALUE_UNIT, decode_value
from cardd.revocation.index import HeldFacts, Tables
from cardd.revocation.lists import ALL_REASONS, ListFacts, Scope
from cardd.revocation.names import comparable, issuer_prefix, point_names, spki_sha256
from cardd.revocation.sources import Source
from cardd.revocation.types import (
    CrlId,
    Decision,
    Freshness,
    FreshnessPolicy,
    RevocationAnswer,
    SpkiHash,
    Status,
)
from cardd.revocation.verifying import CLOCK_SKEW

_ORDER = (Freshness.FRESH, Freshness.STALE, Freshness.EXPIRED, Freshness.UNAVAILABLE)


class Cover(NamedTuple):
    """A source that speaks of the certificates of a CA."""

    source: CrlId
    prefix: bytes
    """Of the CA's name, in the keys of an indirect list."""
    direct: bool
    """Whether the list's own issuer has the CA's name; else only an indirect list speaks of it."""
    list_issuer: bytes


class Point(NamedTuple):
    """A distribution point of a certificate (RFC 5280 §4.2.1.13), in a form that compares."""

    names: tuple[bytes, ...] | None
    reasons: frozenset[str]
    list_issuers: tuple[bytes, ...]


class Target(NamedTuple):
    """What is known of the certificate asked for, beside issuer and serial."""

    is_authority: bool
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Held:
    """What an answer is made from: lists, their entries, and when each becomes stale."""

    lists: Mapping[CrlId, HeldFacts]
    tables: Mapping[CrlId, Tables]
    stale_at: Mapping[CrlId, datetime | None]
    assumed: timedelta
    """Validity of a list without nextUpdate."""


def covers_of(sources: Iterable[Source]) -> dict[SpkiHash, tuple[Cover, ...]]:
    """Return which sources speak of the certificates of each CA key."""
    found: dict[SpkiHash, tuple[Cover, ...]] = {}
    for source in sources:
        own = comparable(source.signer.subject)
        issuer = repr(own).encode()
        for authority in (source.signer, *source.others):
            direct = comparable(authority.subject) == own
            cover = Cover(source.id, issuer_prefix(authority.subject), direct, issuer)
            spki = spki_sha256(authority)
            if cover not in found.get(spki, ()):
                found[spki] = (*found.get(spki, ()), cover)
    return found


def target_of(certificate: x509.Certificate) -> Target:
    """Return what decides which lists speak of a certificate."""
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        constraints = False
    own = repr(comparable(certificate.issuer)).encode()
    try:
        given = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return Target(constraints, (Point((own,), ALL_REASONS, (own,)),))
    return Target(
        constraints,
        (*(_point(each, certificate.issuer) for each in given), Point((own,), ALL_REASONS, (own,))),
    )


def end_of(facts: ListFacts, assumed: timedelta) -> datetime:
    """Return when a list is over: its nextUpdate, or what is assumed where it has none."""
    return facts.next_update if facts.next_update is not None else facts.this_update + assumed


def freshness_of(
    held: HeldFacts | None, stale_at: datetime | None, now: datetime, assumed: timedelta
) -> Freshness:
    """Say how far what is held of one source can be relied on."""
    if held is None:
        return Freshness.UNAVAILABLE
    if now >= (held.full.next_update or end_of(held.full, assumed)):
        return Freshness.EXPIRED
    if stale_at is not None and now >= stale_at:
        return Freshness.STALE
    if held.delta is not None and now >= end_of(held.delta, assumed):
        return Freshness.STALE
    if now < held.full.this_update - CLOCK_SKEW:
        return Freshness.STALE
    return Freshness.FRESH


class Speaker(NamedTuple):
    """A list that speaks of the certificate asked for."""

    source: CrlId
    lists: HeldFacts
    freshness: Freshness
    tables: Tables
    prefix: bytes
    """Of the certificate's issuer, in the keys of an indirect list; else empty."""
    lifts: bool
    """Whether its delta is in force, so that a `removeFromCRL` in it counts."""


class Standing(NamedTuple):
    """What the lists held make of all certificates of a CA, for one policy."""

    since: datetime
    until: datetime | None
    """When one of the lists ages next; from then on it has to be made anew."""
    speakers: tuple[Speaker, ...]
    unnamed: RevocationAnswer
    """The answer for a certificate that no list names."""

    def holds(self, now: datetime) -> bool:
        """Tell whether it is still true."""
        return self.since <= now and (self.until is None or now < self.until)

    def answer(self, serial: int) -> RevocationAnswer:
        """Answer for a serial."""
        for speaker in self.speakers:
            full, delta = speaker.tables
            value = full(serial, speaker.prefix)
            if delta is not None and (changed := delta(serial, speaker.prefix)) is not None:
                if changed % VALUE_UNIT != REMOVE_FROM_CRL:
                    value = changed
                elif speaker.lifts:
                    value = None
            if value is not None:
                return _revoked(speaker, value)
        return self.unnamed


def standing(
    covers: Sequence[Cover],
    held: Held,
    now: datetime,
    *,
    policy: FreshnessPolicy,
    target: Target | None = None,
) -> Standing:
    """Decide for the CA that `covers` belong to; `target` is given where one certificate of it is asked for."""
    coverage = _Coverage(target)
    speakers, turns = [], []
    for cover in covers:
        lists = held.lists.get(cover.source)
        if lists is None:
            continue
        scope = lists.full.scope
        reasons = _applies(scope, cover, target)
        if reasons is None:
            continue
        stale_at = held.stale_at.get(cover.source)
        freshness = freshness_of(lists, stale_at, now, held.assumed)
        turns += [turn for turn in _turns(lists, stale_at, policy, held.assumed) if turn > now]
        coverage.add(cover.source, lists, reasons, freshness)
        speakers.append(
            Speaker(
                cover.source,
                lists,
                freshness,
                held.tables[cover.source],
                cover.prefix if scope.indirect else b"",
                now < end_of(lists.delta or lists.full, held.assumed),
            )
        )
    unnamed = coverage.answer(now, policy, held.assumed)
    return Standing(now, min(turns, default=None), tuple(speakers), unnamed)


def _turns(
    lists: HeldFacts, stale_at: datetime | None, policy: FreshnessPolicy, assumed: timedelta
) -> Iterator[datetime]:
    """Yield the moments at which the freshness of a list, or what the policy makes of it, can change."""
    end = end_of(lists.full, assumed)
    yield end
    yield lists.full.this_update - CLOCK_SKEW
    if stale_at is not None:
        yield stale_at
    if lists.delta is not None:
        yield end_of(lists.delta, assumed)
    if policy.expired_hours is not None:
        yield end + timedelta(hours=policy.expired_hours)


class _Coverage:
    """The lists that do not name a certificate, and what they cover together."""

    def __init__(self, target: Target | None) -> None:
        self._target = target
        self._users: frozenset[str] = frozenset()
        self._authorities: frozenset[str] = frozenset()
        self._worst: tuple[int, CrlId, HeldFacts] | None = None

    def add(self, source: CrlId, lists: HeldFacts, reasons: frozenset[str], freshness: Freshness) -> None:
        """Count a list in."""
        scope = lists.full.scope
        if self._target is not None or scope.points is None:
            if scope.users:
                self._users |= reasons
            if scope.authorities:
                self._authorities |= reasons
        rank = _ORDER.index(freshness)
        if self._worst is None or rank > self._worst[0]:
            self._worst = (rank, source, lists)

    def answer(self, now: datetime, policy: FreshnessPolicy, assumed: timedelta) -> RevocationAnswer:
        """Return `good` where everything is covered and the policy takes the data, `unknown` elsewhere."""
        if self._worst is None:
            return RevocationAnswer(status=Status.UNKNOWN, freshness=Freshness.UNAVAILABLE)
        rank, source, lists = self._worst
        freshness, decision = _ORDER[rank], Decision.REFUSE
        if self._is_complete():
            decision = _decision(policy, freshness, end_of(lists.full, assumed), now)
        newest = lists.delta or lists.full
        return RevocationAnswer(
            status=Status.UNKNOWN if decision is Decision.REFUSE else Status.GOOD,
            freshness=freshness,
            this_update=newest.this_update,
            next_update=lists.full.next_update,
            source=source,
            decision=decision,
        )

    def _is_complete(self) -> bool:
        if self._target is None:
            return self._users >= ALL_REASONS and self._authorities >= ALL_REASONS
        return (self._authorities if self._target.is_authority else self._users) >= ALL_REASONS


def _decision(policy: FreshnessPolicy, freshness: Freshness, end: datetime, now: datetime) -> Decision:
    if freshness is Freshness.FRESH:
        return Decision.ACCEPT
    if freshness is Freshness.STALE:
        return policy.stale
    if policy.expired_hours is not None and now >= end + timedelta(hours=policy.expired_hours):
        return Decision.REFUSE
    return policy.expired


def _revoked(speaker: Speaker, value: int) -> RevocationAnswer:
    reason, revoked_at = decode_value(value)
    lists = speaker.lists
    newest = lists.delta or lists.full
    return RevocationAnswer(
        status=Status.REVOKED,
        freshness=speaker.freshness,
        reason=reason,
        revoked_at=revoked_at,
        this_update=newest.this_update,
        next_update=lists.full.next_update,
        source=speaker.source,
    )


def _applies(scope: Scope, cover: Cover, target: Target | None) -> frozenset[str] | None:
    """Return the reasons for which a list speaks of the certificate; None when it does not."""
    if target is None and cover.direct and not scope.attributes_only:
        return scope.reasons
    if scope.attributes_only or not (cover.direct or scope.indirect):
        return None
    if target is None:
        return scope.reasons
    if not (scope.authorities if target.is_authority else scope.users):
        return None
    reasons: frozenset[str] = frozenset()
    for point in target.points:
        if cover.list_issuer in point.list_issuers and _same_point(scope, point):
            reasons |= scope.reasons & point.reasons
    return reasons or None


def _same_point(scope: Scope, point: Point) -> bool:
    """RFC 5280 §6.3.3 (b) (2) (i): a name in common, the list issuer's where the point has none."""
    if scope.points is None:
        return True
    names = point.names if point.names is not None else point.list_issuers
    return not set(names).isdisjoint(scope.points)


def _point(point: x509.DistributionPoint, issuer: x509.Name) -> Point:
    own = repr(comparable(issuer)).encode()
    named = [name.value for name in point.crl_issuer or () if isinstance(name, x509.DirectoryName)]
    relative_to = named[0] if named else issuer
    return Point(
        names=point_names(point.full_name, point.relative_name, relative_to),
        reasons=ALL_REASONS if point.reasons is None else frozenset(flag.value for flag in point.reasons),
        list_issuers=tuple(repr(comparable(name)).encode() for name in named) or (own,),
    )
