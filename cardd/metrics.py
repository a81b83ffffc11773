"""The numbers that an operator watches, for Prometheus: few labels, seconds and bytes.

Counters and the histogram grow as things happen. The rest is read when Prometheus asks; what has to be counted in the
database, at most every half minute.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from cardd import __version__
from cardd.errors import CarddError
from cardd.events import EventBus
from cardd.orders.types import CertificateState, OrderState
from cardd.parts import Parts
from cardd.store.tables import certificates, notices, orders
from cardd_pkcs11 import protocol
from cardd_pkcs11.errors import TokenErrorCode

#: Upper bounds in seconds: from an EC key in memory to RSA 4096 on a busy machine.
_SIGNATURE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
#: The database is not counted more often than this, in seconds.
_BETWEEN_COUNTS = 30.0


class DaemonMetrics(Collector):
    """The numbers of the daemon's rooms, in `registry`."""

    def __init__(self, parts: Parts, failing: Callable[[], Mapping[str, str]]) -> None:
        self.registry = CollectorRegistry()
        self._parts = parts
        self._failing = failing
        self._counted: tuple[Metric, ...] = ()
        self._counted_at = -_BETWEEN_COUNTS
        self._signatures = Histogram(
            "cardd_signature_seconds",
            "Time from asking for a signature by a key on a token to having it.",
            buckets=_SIGNATURE_BUCKETS,
            registry=self.registry,
        )
        self._errors = Counter(
            "cardd_token_call_errors", "Calls to tokens that failed.", ("code",), registry=self.registry
        )
        self._events = Counter(
            "cardd_events",
            "Events: cards, orders, certificates, lists, keys.",
            ("type",),
            registry=self.registry,
        )
        ProcessCollector(registry=self.registry)
        self.registry.register(self)
        parts.pool.observe(self._observed)

    async def follow(self, bus: EventBus) -> None:
        """Count events as they happen, until cancelled."""
        with bus.subscribe() as subscription:
            while True:
                event = await subscription.next()
                self._events.labels(event.type.value).inc()

    async def refresh(self) -> None:
        """Count what is in the database, unless that was done just now; where it does not answer, keep the last."""
        now = self._parts.clock.monotonic()
        if now - self._counted_at < _BETWEEN_COUNTS:
            return
        self._counted_at = now
        try:
            self._counted = await self._count()
        except CarddError:
            self._counted = ()

    def collect(self) -> Iterable[Metric]:
        """Return the numbers of this moment."""
        yield self._build()
        yield from self._lists()
        yield from self._hosts()
        yield from self._counted
        failing = GaugeMetricFamily(
            "cardd_upkeep_failing", "Whether a duty of the upkeep fails (1).", labels=["duty"]
        )
        for duty in sorted(self._failing()):
            failing.add_metric([duty], 1)
        yield failing

    def _observed(self, call: protocol.Call[Any], seconds: float, error: TokenErrorCode | None) -> None:
        if error is not None:
            self._errors.labels(error.value).inc()
        elif isinstance(call, protocol.Sign):
            self._signatures.observe(seconds)

    def _build(self) -> Metric:
        built = GaugeMetricFamily("cardd_build_info", "The running version.", labels=["version"])
        built.add_metric([__version__], 1)
        return built

    def _lists(self) -> Iterable[Metric]:
        """Own lists and those kept for applications, by name; deltas of our own have `-delta` in theirs."""
        now = self._parts.clock.now()
        age = GaugeMetricFamily(
            "cardd_crl_age_seconds", "Time since thisUpdate of a revocation list.", labels=["list"]
        )
        left = GaugeMetricFamily(
            "cardd_crl_next_update_seconds",
            "Time until nextUpdate of a revocation list; negative once it is over.",
            labels=["list"],
        )
        entries = GaugeMetricFamily("cardd_crl_entries", "Entries of a revocation list.", labels=["list"])
        for name, this_update, next_update, number in self._known_lists():
            age.add_metric([name], (now - this_update).total_seconds())
            entries.add_metric([name], number)
            if next_update is not None:
                left.add_metric([name], (next_update - now).total_seconds())
        return (age, left, entries)

    def _known_lists(self) -> Iterable[tuple[str, datetime, datetime | None, int]]:
        own = set()
        for each in self._parts.pki.lists.all():
            name = each.issuer.value if each.kind == "full" else f"{each.issuer.value}-delta"
            own.add(each.issuer.value)
            yield name, each.this_update, each.next_update, each.entries
        for view in self._parts.revocation.lists("en"):
            if view.id not in own and view.this_update is not None:
                yield view.id, view.this_update, view.next_update, view.entries or 0

    def _hosts(self) -> Iterable[Metric]:
        counters = self._parts.pool.counters
        yield GaugeMetricFamily(
            "cardd_token_hosts_running", "Token host processes that run.", value=counters.running
        )
        yield CounterMetricFamily(
            "cardd_token_host_restarts", "Token host processes started again.", value=counters.restarts
        )
        yield CounterMetricFamily("cardd_token_calls", "Calls to tokens.", value=counters.calls)
        yield GaugeMetricFamily(
            "cardd_token_calls_busy", "Calls to tokens that wait or run.", value=counters.busy
        )

    async def _count(self) -> tuple[Metric, ...]:
        parts = self._parts
        ordered = GaugeMetricFamily("cardd_orders", "Orders by state.", labels=["state"])
        issued = GaugeMetricFamily("cardd_certificates", "Certificates of orders by state.", labels=["state"])
        raised = GaugeMetricFamily("cardd_alerts", "Alerts raised, by kind.", labels=["kind"])
        depth = GaugeMetricFamily("cardd_queue_depth", "What waits, by queue.", labels=["queue"])
        backup = GaugeMetricFamily(
            "cardd_backup_last_made_timestamp_seconds",
            "When the newest backup kept was made; absent without one.",
        )
        for state, count in (await self._orders()).items():
            ordered.add_metric([state.value], count)
        for kind, count in (await self._certificates()).items():
            issued.add_metric([kind.value], count)
        alerts = await parts.alerts.list()
        for name in sorted({each.kind for each in alerts}):
            raised.add_metric([name], sum(each.kind == name for each in alerts))
        for queue, number in (await self._queues()).items():
            depth.add_metric([queue], number)
        backups = await parts.backups.list()
        if backups:
            backup.add_metric([], backups[0].made_at.astimezone(UTC).timestamp())
        return (ordered, issued, raised, depth, backup)

    async def _orders(self) -> dict[OrderState, int]:
        statement = sa.select(orders.c.state, sa.func.count()).group_by(orders.c.state)
        async with self._parts.store.read() as connection:
            rows = (await connection.execute(statement)).all()
        return dict.fromkeys(OrderState, 0) | {OrderState(state): count for state, count in rows}

    async def _certificates(self) -> dict[CertificateState, int]:
        table, now = certificates, self._parts.clock.now()
        renewable = now + timedelta(days=self._parts.settings.orders.notice_days)
        state = sa.case(
            (table.c.revoked_at.is_not(None), CertificateState.REVOKED.value),
            (table.c.not_after < now, CertificateState.EXPIRED.value),
            (table.c.not_after <= renewable, CertificateState.RENEWABLE.value),
            else_=CertificateState.ACTIVE.value,
        )
        statement = sa.select(state, sa.func.count()).where(table.c.kind == "order").group_by(state)
        async with self._parts.store.read() as connection:
            rows = (await connection.execute(statement)).all()
        return dict.fromkeys(CertificateState, 0) | {CertificateState(found): count for found, count in rows}

    async def _queues(self) -> dict[str, int]:
        unsent = sa.select(sa.func.count()).where(notices.c.sent_at.is_(None))
        unwritten = sa.select(sa.func.count()).where(certificates.c.on_token.is_(False))
        async with self._parts.store.read() as connection:
            counts = [(await connection.execute(each)).scalar() or 0 for each in (unsent, unwritten)]
        waiting = await self._parts.deliveries.waiting()
        return {"notices": counts[0], "certificates_to_write": counts[1], "deliveries": waiting}
