"""`/metrics`: the numbers of the process and of its store, in Prometheus' text format.

Labels are task types, statuses and kinds, which are few; never ids, owners or messages.
`longtasks_tasks` and the queue are of the store, the same from every replica: take their `max`, not their sum.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..backend import Fleet
from ..errors import ConfigurationError
from ..meter import Histogram, Meter
from ..task import Status

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["check_installed", "exposition"]


def check_installed() -> None:
    """Raise unless the library is there.

    Raises:
        ConfigurationError: it is not; the message says how to install it.
    """
    if find_spec("prometheus_client") is None:
        raise ConfigurationError("metrics=on needs prometheus-client: pip install 'mcp-long-tasks[metrics]'")


def exposition(
    meter: Meter, tasks: Mapping[Status, int], fleet: Fleet, *, streams: int, version: str, backend: str
) -> tuple[bytes, str]:
    """The text, and its media type."""
    from prometheus_client import CollectorRegistry
    from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected([*_of_process(meter, streams, version, backend), *_of_store(tasks, fleet)]))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collected:
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Metric]:
        return self._metrics


def _of_process(meter: Meter, streams: int, version: str, backend: str) -> Iterator[Metric]:
    by_type = ["task_type"]
    yield _counter("tasks_started", "Tasks created here", by_type, meter.created)
    yield _counter("tasks_ended", "Ends of tasks recorded here", [*by_type, "status"], meter.ended)
    yield _counter("attempts", "Attempts begun here", by_type, meter.attempts)
    yield _counter("attempts_given_back", "Attempts that did not end their task", [*by_type, "cause"], meter.given_back)
    yield _counter("events", "Events committed here", ["kind"], meter.events)
    yield _counter("store_errors", "Writes the store did not take", ["operation"], meter.store_errors)
    yield _histogram("wait_seconds", "From the time a task is due to its first attempt", by_type, meter.waits)
    yield _histogram("work_seconds", "Work of all attempts of a task, at its end", [*by_type, "status"], meter.work)
    yield _histogram("commit_seconds", "A commit, as its caller waits", ["durable"], meter.commits)
    yield _gauge("streams_open", "Open progress streams and WebSockets", [], {(): streams})
    labels = {(version, backend, platform.python_version()): 1}
    yield _gauge("build_info", "What is running", ["version", "backend", "python"], labels)


def _of_store(tasks: Mapping[Status, int], fleet: Fleet) -> Iterator[Metric]:
    counts = {(str(status),): tasks.get(status, 0) for status in Status}
    yield _gauge("tasks", "Stored tasks", ["status"], counts)
    yield _gauge("queue_due", "Queued tasks that could run now", [], {(): fleet.due})
    yield _gauge("queue_delayed", "Queued tasks whose time has not come", [], {(): fleet.delayed})
    yield _gauge("queue_oldest_seconds", "Wait of the first in line", [], {(): fleet.oldest_waiting or 0.0})
    yield _gauge("tasks_claimed", "Tasks that a process holds", [], {(): fleet.claimed})
    yield _gauge("tasks_stalled", "Live tasks that no process holds", [], {(): len(fleet.stalled)})
    if fleet.workers is not None:
        yield _gauge("workers", "Processes that run tasks", [], {(): len(fleet.workers)})


def _counter(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import CounterMetricFamily

    return _filled(CounterMetricFamily(f"longtasks_{name}", text, labels=labels), values.items())


def _gauge(name: str, text: str, labels: list[str], values: Mapping[Any, float]) -> Metric:
    from prometheus_client.core import GaugeMetricFamily

    return _filled(GaugeMetricFamily(f"longtasks_{name}", text, labels=labels), values.items())


def _filled(family: Any, values: Iterable[tuple[Any, float]]) -> Metric:
    for labels, value in values:
        family.add_metric(labels, value)
    metric: Metric = family
    return metric


def _histogram(name: str, text: str, labels: list[str], values: Mapping[Any, Histogram]) -> Metric:
    from prometheus_client.core import HistogramMetricFamily

    family = HistogramMetricFamily(f"longtasks_{name}", text, labels=labels)
    for key, found in values.items():
        family.add_metric(key, found.buckets(), found.sum)
    return family
