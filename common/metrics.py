"""What a process counts and measures for Prometheus: every `weir_…` metric of every service, declared here.

Counting costs a microsecond and goes on whether or not the port for it is open (`common.ops`). Labels have few
values: stages, outcomes, endpoints without ids. A workspace is a label only of what one console reads for its whole
region (`services.console.gauges`), of the worst workspaces at most. `exposition` adds `service` and `region` to each.
"""

from collections.abc import Iterable, Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

__all__ = ["CONTENT_TYPE_LATEST", "exposition"]

disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, which nobody asks for

REGISTRY = CollectorRegistry()
_SHORT = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_LONG = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)


def _counter(name: str, about: str, *labels: str) -> Counter:
    return Counter(name, about, labels, registry=REGISTRY)


def _gauge(name: str, about: str, *labels: str) -> Gauge:
    return Gauge(name, about, labels, registry=REGISTRY)


def _seconds(name: str, about: str, *labels: str, buckets: tuple[float, ...] = _SHORT) -> Histogram:
    return Histogram(name, about, labels, buckets=buckets, registry=REGISTRY)


# Every process
READY = _gauge("weir_ready", "Whether the process can do its work: 1, or 0 as /readyz explains")
CONNECTED = _gauge("weir_broker_connected", "Whether the process is connected to the broker")
BEAT_AGE = _gauge("weir_heartbeat_age_seconds", "Seconds since the event loop last turned")
RECONNECTS = _counter("weir_broker_reconnects_total", "Connections to the broker that were lost and made again")
DENIED = _counter("weir_broker_denied_total", "What the broker did not let this process do")
PUBLISH_RETRIES = _counter("weir_publish_retries_total", "Publishes that were sent again", "stream")
PUBLISH_REFUSED = _counter("weir_publish_refused_total", "Publishes given up for now: the broker takes none", "stream")
MESSAGES = _counter("weir_messages_total", "Messages settled, by what became of them", "stage", "outcome")
BATCHES = _seconds("weir_batch_seconds", "Seconds in which a batch was handled", "stage", buckets=_LONG)

# Those that call a provider
REQUESTS = _counter(
    "weir_provider_requests_total", "Calls to a provider, repeats included", "provider", "endpoint", "status"
)
REQUEST_SECONDS = _seconds(
    "weir_provider_request_seconds", "Seconds until a call was answered, waiting for a place left out", "provider"
)
LIMIT_WAITS = _seconds("weir_limit_wait_seconds", "Seconds that a call waited for a place", "provider", buckets=_SHORT)

# Puller, scorer, poster
PULLS = _counter("weir_pulls_total", "Pulls by how they ended", "outcome")
RECORDS = _counter("weir_records_published_total", "Records published", "kind")
DECISIONS = _counter("weir_decisions_total", "Decisions published", "action")
DECISION_LATENCY = _seconds(
    "weir_decision_latency_seconds", "Seconds from a bill's record to the decision on it", buckets=_LONG
)
POSTINGS = _counter("weir_postings_total", "Postings published", "outcome")
VERIFIED_LATENCY = _seconds(
    "weir_bill_verified_latency_seconds", "Seconds from reading a bill to seeing its effect in Qonto", buckets=_LONG
)

# A region, as each of its consoles reads it
REGION_READ = _gauge("weir_region_read_timestamp_seconds", "When the gauges of the region were last read whole")
PENDING = _gauge("weir_stage_pending_messages", "Messages that no instance has taken yet", "stage")
IN_HAND = _gauge("weir_stage_in_hand_messages", "Messages taken and not finished, those put off included", "stage")
OLDEST = _gauge("weir_stage_oldest_unhandled_seconds", "Age of the oldest message not finished; 0: none", "stage")
FAILURES = _gauge("weir_failures_standing", "Failures that stand", "stage")
REVIEWS = _gauge("weir_reviews_open", "Bills that wait for a person", "step")
REVIEW_AGE = _gauge("weir_review_oldest_age_seconds", "Age of the oldest open review", "workspace")
CONNECTIONS = _gauge("weir_connections", "Connections by how they stand", "provider", "state")
CONNECTED_AT = _gauge(
    "weir_connection_since_timestamp_seconds", "When a person last gave access", "workspace", "provider"
)
TOKEN_ENDS = _gauge(
    "weir_connection_token_expires_timestamp_seconds", "When the access token ends", "workspace", "provider"
)
GRANT_ENDS = _gauge(
    "weir_connection_ends_timestamp_seconds", "When access ends unless it is renewed", "workspace", "provider"
)
PULLED_AT = _gauge(
    "weir_workspace_pulled_timestamp_seconds", "When a connected workspace was last read whole", "workspace"
)
READS = _gauge("weir_metered_reads", "This month's metered reads of QuickBooks")
ALLOWANCE = _gauge("weir_metered_reads_allowance", "Metered reads that a month includes")
READS_OF = _gauge("weir_workspace_metered_reads", "This month's metered reads for a workspace", "workspace")
PLACES_USED = _gauge("weir_limit_places_used", "Calls counted in the span, of the busiest account", "provider", "span")
PLACES = _gauge("weir_limit_places", "Calls that the span lets through", "provider", "span")
PRECISION = _gauge(
    "weir_precision_lower_bound_ratio", "Share of automatic decisions surely right at the last check", "workspace"
)
PRECISION_TARGET = _gauge("weir_precision_target_ratio", "Share that the policy asked for then", "workspace")
PRECISION_CASES = _gauge("weir_precision_cases", "Decisions that the check looked at", "workspace")

ProcessCollector(registry=REGISTRY)
GCCollector(registry=REGISTRY)


class _Named(Collector):
    """The metrics of this process with labels that all of them carry."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._labels = labels

    def collect(self) -> Iterator[Metric]:
        for metric in REGISTRY.collect():
            metric.samples = [one._replace(labels={**self._labels, **one.labels}) for one in metric.samples]
            yield metric


def exposition(service: str, region: str) -> bytes:
    """All metrics in Prometheus' text format (CONTENT_TYPE_LATEST)."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Named({"service": service, "region": region}))
    return generate_latest(registry)


def names() -> set[str]:
    """The name of every series a `weir_…` metric may show, those of histograms and counters included."""
    found: set[str] = set()
    for metric in REGISTRY.collect():
        if metric.name.startswith("weir_"):
            found.update(_series(metric))
    return found


def _series(metric: Metric) -> Iterable[str]:
    match metric.type:
        case "counter":
            return [f"{metric.name}_total"]
        case "histogram":
            return [f"{metric.name}_{part}" for part in ("bucket", "count", "sum")]
        case _:
            return [metric.name]
