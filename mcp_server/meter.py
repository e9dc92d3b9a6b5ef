"""The commits of this process, counted as they happen, in plain numbers that others export.

Counting costs a few additions for each commit, not for each report, and needs no library.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, cast

from .backend import Backend
from .errors import Unavailable
from .task import TERMINAL, Event, Kind, Task

__all__ = ["Histogram", "Meter", "metered"]

SECONDS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 900, 1800, 3600, 14_400, 86_400)
"""Upper bounds for what takes as long as tasks do."""
COMMIT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
MAX_TYPES = 100
OTHER = "_other"
"""Stands for the types after the first 100: labels are kept for as long as the process lives."""


class Histogram:
    """Counts of values up to each bound."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.sum = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """Upper bound and count of the values up to it, the last one without a bound."""
        total, found = 0, []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self._counts, strict=True):
            total += count
            found.append((bound, float(total)))
        return found


class Meter:
    """The numbers of one process, by the labels that exporters give them."""

    def __init__(self) -> None:
        self.created: Counter[tuple[str]] = Counter()
        """By task type."""
        self.ended: Counter[tuple[str, str]] = Counter()
        """By task type and status."""
        self.attempts: Counter[tuple[str]] = Counter()
        self.given_back: Counter[tuple[str, str]] = Counter()
        """Attempts that did not end their task, by task type and cause."""
        self.events: Counter[tuple[str]] = Counter()
        """By kind."""
        self.store_errors: Counter[tuple[str]] = Counter()
        """By operation."""
        self.waits: defaultdict[tuple[str], Histogram] = defaultdict(lambda: Histogram(SECONDS))
        """From the time a task is due to its first attempt."""
        self.work: defaultdict[tuple[str, str], Histogram] = defaultdict(lambda: Histogram(SECONDS))
        """Of all attempts of a task, at its end, by task type and status."""
        self.commits: defaultdict[tuple[str], Histogram] = defaultdict(lambda: Histogram(COMMIT_SECONDS))
        """As its caller waits, by durable (`yes`, `no`)."""
        self._types: set[str] = set()

    def note(self, task: Task, events: Sequence[Event], *, seconds: float, durable: bool) -> None:
        """Count a commit.

        Args:
            task: as it is after the events.
            seconds: how long the commit took.
        """
        self.commits[("yes" if durable else "no",)].observe(seconds)
        task_type = self._label(task.type)
        for event in events:
            self.events[(str(event.kind),)] += 1
            if event.kind is Kind.QUEUED:
                self.created[(task_type,)] += 1
            elif event.kind is Kind.STARTED:
                self.attempts[(task_type,)] += 1
                if event.attempt == 1:
                    self.waits[(task_type,)].observe(max(0.0, event.at - max(task.created_at, task.not_before)))
            elif event.kind is Kind.RETRYING:
                self.given_back[(task_type, event.data["cause"])] += 1
            elif event.data["status"] in TERMINAL:
                self.ended[(task_type, str(task.status))] += 1
                self.work[(task_type, str(task.status))].observe(task.worked_seconds)

    def _label(self, task_type: str) -> str:
        if task_type not in self._types and len(self._types) >= MAX_TYPES:
            return OTHER
        self._types.add(task_type)
        return task_type


def metered(backend: Backend, meter: Meter) -> Backend:
    """The backend, with everything counted that is committed through it."""
    return cast(Backend, _Metered(backend, meter))


class _Metered:
    def __init__(self, backend: Backend, meter: Meter) -> None:
        self._backend, self._meter = backend, meter

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    async def __aenter__(self) -> Any:
        await self._backend.__aenter__()
        return self

    async def __aexit__(self, *raised: Any) -> None:
        await self._backend.__aexit__(*raised)

    async def create(self, task: Task, events: Sequence[Event]) -> Task:
        began = time.perf_counter()
        try:
            stored = await self._backend.create(task, events)
        except Unavailable:
            self._meter.store_errors[("create",)] += 1
            raise
        if stored.id == task.id:  # and not an earlier one with the same idempotency key
            self._meter.note(task, events, seconds=time.perf_counter() - began, durable=True)
        return stored

    async def commit(self, before: Task, after: Task, events: Sequence[Event], *, durable: bool = False) -> None:
        began = time.perf_counter()
        try:
            await self._backend.commit(before, after, events, durable=durable)
        except Unavailable:
            self._meter.store_errors[("commit",)] += 1
            raise
        self._meter.note(after, events, seconds=time.perf_counter() - began, durable=durable)
