"""The few numbers that an operator watches, for Prometheus."""

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

#: Upper bounds in seconds: from a cached list to a key made on a token.
_BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """What the web service counts, in the daemon's registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._requests = Counter(
            "cardd_http_requests", "Requests answered.", ("method", "route", "status"), registry=registry
        )
        self._seconds = Histogram(
            "cardd_http_request_seconds",
            "Time to answer, by route.",
            ("route",),
            buckets=_BUCKETS,
            registry=registry,
        )
        #: The counters of a route, method and status, so that labels are looked up once.
        self._answers: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._refused = Counter(
            "cardd_guard_refusals", "Requests the guard turned away.", ("reason",), registry=registry
        )
        self._streams = Gauge("cardd_event_streams", "Event streams open.", registry=registry)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count an answer; `route` is the path's template, never the path itself."""
        key = (method, route, status)
        found = self._answers.get(key)
        if found is None:
            found = self._requests.labels(method, route, str(status)), self._seconds.labels(route)
            self._answers[key] = found
        requests, times = found
        requests.inc()
        times.observe(seconds)

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
