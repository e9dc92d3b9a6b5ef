"""Who waits for which task's next event, in this process.

A backend tells it the newest event number of a task (`note`); whoever waits for a
number above the one it has seen is woken. Numbers are kept for watched tasks only, so
an unwatched task costs nothing and an idle watcher one `Event`.

It carries no data and knows no storage: a wake-up only says "read again".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

__all__ = ["Wakeups"]

GONE = float("inf")
"""The number of a task that is not there: wakes everybody, who then find out."""


@dataclass(slots=True)
class _Watched:
    number: float = -1
    watchers: int = 0
    looked_up: bool = False
    looking_up: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True))
    changed: anyio.Event = field(default_factory=anyio.Event)


class Wakeups:
    """The watched tasks of one backend instance. For one event loop, not for threads."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}

    def __bool__(self) -> bool:
        return bool(self._watched)

    @property
    def watched(self) -> Sequence[str]:
        return list(self._watched)

    def note(self, task_id: str, number: float) -> None:
        """The task's newest event is `number`; an older number than the one known changes nothing."""
        watched = self._watched.get(task_id)
        if watched is not None and number > watched.number:
            watched.number = number
            watched.changed.set()
            watched.changed = anyio.Event()

    def note_all(self, asked: Iterable[str], numbers: Mapping[str, int]) -> None:
        """The newest numbers of those of the `asked` tasks that are still there."""
        for task_id in asked:
            self.note(task_id, numbers.get(task_id, GONE))

    async def wait(self, task_id: str, after: int, stored: Callable[[], Awaitable[None]]) -> None:
        """Return once a number above `after` was noted for the task.

        `stored` looks the number up and notes it. It is called after this waiter is
        registered, so that a commit falls either before the look or is noted: none is missed.
        """
        watched = self._watched.setdefault(task_id, _Watched())
        watched.watchers += 1
        try:
            # One look serves all watchers: from then on the number is kept up to date.
            if not watched.looked_up:
                async with watched.looking_up:
                    if not watched.looked_up:
                        await stored()
                        watched.looked_up = True
            while watched.number <= after:
                await watched.changed.wait()
        finally:
            watched.watchers -= 1
            if not watched.watchers:
                del self._watched[task_id]
