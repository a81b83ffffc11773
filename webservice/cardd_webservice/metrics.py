"""The few numbers that an operator watches, for Prometheus."""

from bisect import bisect_left
from collections.abc import Iterable

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

#: Upper bounds in seconds: from a cached list to a key made on a token.
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class _Answered:
    """The answers of a route: how many by method and status, and how long they took."""

    __slots__ = ("by_status", "counts", "seconds")

    def __init__(self) -> None:
        self.by_status: dict[tuple[str, int], int] = {}
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.seconds = 0.0

    def add(self, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        key = (method, status)
        self.by_status[key] = self.by_status.get(key, 0) + 1
        self.counts[bisect_left(_BUCKETS, seconds)] += 1
        self.seconds += seconds

    def cumulated(self) -> list[tuple[str, float]]:
        """Return how many took so long at most, for each bound."""
        bounds = (*(str(bound) for bound in _BUCKETS), "+Inf")
        return [(bound, sum(self.counts[: place + 1])) for place, bound in enumerate(bounds)]


class _Answers(Collector):
    """Every answer, counted on the loop alone, and so without the locks of the library's own counters."""

    def __init__(self) -> None:
        self._answered: dict[str, _Answered] = {}
        self._by_route: dict[web.AbstractRoute, _Answered] = {}

    def of(self, route: web.AbstractRoute) -> _Answered:
        """Return the answers under the template of a route's path, never the path itself."""
        found = self._by_route.get(route)
        if found is None:
            resource = route.resource
            template = resource.canonical if resource is not None else "none"
            found = self._answered.setdefault(template, _Answered())
            # Of what leads nowhere, each request has a route of its own.
            if resource is not None:
                self._by_route[route] = found
        return found

    def collect(self) -> Iterable[Metric]:
        """Return the numbers of this moment."""
        requests = CounterMetricFamily(
            "cardd_http_requests", "Requests answered.", labels=("method", "route", "status")
        )
        seconds = HistogramMetricFamily(
            "cardd_http_request_seconds", "Time to answer, by route.", labels=("route",)
        )
        for template, answered in self._answered.items():
            for (method, status), count in answered.by_status.items():
                requests.add_metric((method, template, str(status)), count)
            seconds.add_metric((template,), answered.cumulated(), answered.seconds)
        return (requests, seconds)


class Metrics:
    """What the web service counts, in the daemon's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._answers = _Answers()
        registry.register(self._answers)
        self._refused = Counter(
            "cardd_guard_refusals", "Requests the guard turned away.", ("reason",), registry=registry
        )
        self._streams = Gauge("cardd_event_streams", "Event streams open.", registry=registry)

    def answered(self, method: str, route: web.AbstractRoute, status: int, seconds: float) -> None:
        """Count an answer."""
        self._answers.of(route).add(method, status, seconds)

    def refused(self, reason: str) -> None:
        """Count a refusal."""
        self._refused.labels(reason).inc()

    def streams(self, number: int) -> None:
        """Note how many event streams are open."""
        self._streams.set(number)

    def exposition(self) -> tuple[bytes, str]:
        """Return the whole registry in Prometheus' text form, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST


METRICS: web.AppKey[Metrics] = web.AppKey("metrics", Metrics)
