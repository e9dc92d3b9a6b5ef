"""The waiters for the next events of tasks, in this process.

A backend notes the newest event number of a task; waiters for a number above the
one they have are woken. A number is looked up once and kept up to date from then on, for as
long as the task is watched and a while longer, since a reader comes back after every
event. An unwatched task costs nothing, an idle watcher one `Event`.

No data and no storage: a wake-up only says "read again".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

__all__ = ["GONE", "Waiters"]

GONE = float("inf")
"""The number of a task that is not there: wakes all of its waiters, who then find out."""

LINGER = 10.0
"""Seconds a task counts as watched after its last waiter has left."""


@dataclass(slots=True)
class _Watched:
    number: float = -1
    waiters: int = 0
    idle_since: float = 0.0
    is_current: bool = False
    """`number` was looked up, and every change since then is noted."""
    looking: anyio.Lock = field(default_factory=lambda: anyio.Lock(fast_acquire=True))
    changed: anyio.Event = field(default_factory=anyio.Event)

    def wake(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


class Waiters:
    """The watched tasks of one backend instance. For one event loop, not for threads.

    Args:
        look: called with a task that becomes watched. It makes sure that changes are noted from then on, and only
            then notes the stored number: a commit falls either before the look or is noted, and none is missed.
    """

    def __init__(self, look: Callable[[str], Awaitable[None]]) -> None:
        self._look = look
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
            watched.wake()

    def note_all(self, asked: Iterable[str], numbers: Mapping[str, int]) -> None:
        """The newest numbers of those of the `asked` tasks that are still there."""
        for task_id in asked:
            self.note(task_id, numbers.get(task_id, GONE))

    async def wait(self, task_id: str, after: int) -> None:
        """Return once a number above `after` was noted for the task."""
        watched = self._watched.setdefault(task_id, _Watched())
        watched.waiters += 1
        try:
            while True:
                if not watched.is_current:
                    async with watched.looking:
                        if not watched.is_current:
                            await self._look(task_id)
                            watched.is_current = True
                if watched.number > after:
                    return
                await watched.changed.wait()
        finally:
            watched.waiters -= 1
            watched.idle_since = anyio.current_time()

    def forget(self) -> None:
        """Changes may have been missed: every number is looked up anew, at once where there are waiters."""
        for watched in self._watched.values():
            watched.number, watched.is_current = -1, False
            watched.wake()

    def drop_idle(self) -> Sequence[str]:
        """Stop watching the tasks whose last waiter left a while ago; their ids."""
        long_ago = anyio.current_time() - LINGER
        idle = [i for i, w in self._watched.items() if not w.waiters and w.idle_since < long_ago]
        for task_id in idle:
            del self._watched[task_id]
        return idle
