"""The log of one task, in the hands of a caller who may see it; `Engine.open` gives it."""

from __future__ import annotations

from collections.abc import Sequence

from .backend import Backend
from .task import Event, Task

__all__ = ["Log"]


class Log:
    """One task's log, for a caller who may see it.

    `task` is the task as it was last looked at.
    """

    def __init__(self, backend: Backend, task: Task) -> None:
        self._backend, self.task = backend, task

    async def read(self, after: int, limit: int) -> Sequence[Event]:
        """Up to `limit` events numbered above `after`; see `Backend.read`. Raises Unavailable."""
        return await self._backend.read(self.task.id, after, limit)

    async def wait(self, after: int) -> None:
        """Return when there may be an event numbered above `after`; see `Backend.wait`."""
        await self._backend.wait(self.task.id, after)

    async def refresh(self) -> bool:
        """Look at the task again; False if it is gone, and `task` then stays as it was. Raises Unavailable."""
        task = await self._backend.load(self.task.id)
        if task is None:
            return False
        self.task = task
        return True
