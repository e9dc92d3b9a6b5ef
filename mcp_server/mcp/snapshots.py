"""Tasks as the tools show them: the snapshot, what was waited, and what to do next.

One place decides how much of a long result an answer carries.
"""

from __future__ import annotations

from typing import Any

from client_sdk import wire

from ..engine import Engine
from ..task import Task
from ..views import snapshot
from .advice import next_page, next_step
from .caller import Caller
from .detailed import POLL_INTERVAL_SECONDS
from .paging import is_too_long, part_of
from .wait import Applied, Waiter

__all__ = ["STREAM_URL", "Snapshots", "stream_url"]

STREAM_URL = "/progress/{operation_id}/stream"


def stream_url(template: str, task: Task, caller: Caller) -> str | None:
    """Where the caller can read the task's events; None if nowhere.

    Args:
        template: a URL with `{operation_id}` in it. One that begins with a slash is a path of this
            server, which a caller over stdio or in memory cannot reach.
    """
    if template.startswith("/"):
        if caller.root is None:
            return None
        template = caller.root + template
    return template.format(operation_id=task.id)


class Snapshots:
    """Turns tasks into the `data` of replies, for one engine."""

    def __init__(self, engine: Engine, waiter: Waiter) -> None:
        self._engine, self._waiter = engine, waiter

    async def one(self, task: Task, caller: Caller, *, share: int = 1) -> dict[str, Any]:
        """The fields of `wire.Snapshot`; the output is left out if it is too long for this caller.

        Args:
            share: how many tasks share the answer's budget.
        """
        position = await self._engine.queue_position(task)
        shown = snapshot(task, queue_position=position).model_dump()
        if is_too_long(task, caller, self._engine.settings.result_budget // share):
            shown["output"] = None
        return shown

    async def advised(self, task: Task, caller: Caller, applied: Applied | None = None) -> dict[str, Any]:
        """`one`, with what was waited and the next step."""
        shown = await self.one(task, caller)
        advice = next_step(
            task,
            wait_seconds=self._waiter.worth(caller),
            queue_position=shown["queue_position"],
            shows_output=shown["output"] is not None or task.output is None,
        )
        return {**shown, "next": advice, "waited": applied.shown if applied else None}

    async def started(self, task: Task, caller: Caller, applied: Applied | None) -> wire.StartReply:
        """What `start_long_task` answers, and a task type's own tool that was not done in time."""
        budget = self._engine.settings.result_budget
        shown, page = await self.advised(task, caller, applied), None
        if is_too_long(task, caller, budget):
            shown["output"], page = part_of(task, 0, budget)
            shown["next"] = next_page(task, page)
        return wire.StartReply(
            **shown,
            stream_url=stream_url(STREAM_URL, task, caller),
            poll_interval_seconds=POLL_INTERVAL_SECONDS,
            page=page,
        )
