"""`notifications/tasks`: pushes the state of tasks over `subscriptions/listen`.

The SDK serves that method and knows nothing of `taskIds`. This middleware lets it:
the SDK's handler goes on to own the stream, and through a session that is handed to it
the acknowledgement gains the task ids; after it, one loop per task sends the whole
task whenever it changed. What was sent is forgotten; a client that comes back gets the
present state first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Literal

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp_types import INVALID_PARAMS, Notification, SubscriptionFilter, SubscriptionsAcknowledgedNotification

from ..engine import Engine
from ..errors import NotFound, Unavailable
from ..log import Log
from ..task import Task
from .caller import Caller, missing_extension

__all__ = ["TaskPushes"]

MAX_TASK_IDS = 100
"""Tasks one stream may follow."""

PAUSE = 0.1
"""Seconds between two notifications of one task: a fast task is told of in larger steps."""

Show = Callable[[Task, Caller], Awaitable[dict[str, Any]]]


class _TaskNotification(Notification[dict[str, Any], Literal["notifications/tasks"]]):
    """Its params are a dict, so that nulls in it reach the wire."""

    method: Literal["notifications/tasks"] = "notifications/tasks"
    params: dict[str, Any]


class TaskPushes:
    """A middleware for the SDK's server.

    Args:
        show: the task as the extension shows it.
    """

    def __init__(self, engine: Engine, show: Show) -> None:
        self._engine, self._show = engine, show

    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        if ctx.method != "subscriptions/listen" or ctx.request_id is None:
            return await call_next(ctx)
        wanted = (ctx.params or {}).get("notifications")
        if not isinstance(wanted, Mapping) or wanted.get("taskIds") is None:
            return await call_next(ctx)
        caller = Caller.of(ctx)
        if not caller.declares_tasks:
            raise missing_extension()
        logs = await self._known(_task_ids(wanted["taskIds"]), caller)
        return await self._serve(ctx, call_next, caller, logs, only_tasks=set(wanted) == {"taskIds"})

    async def _serve(
        self,
        ctx: ServerRequestContext[Any, Any],
        call_next: CallNext,
        caller: Caller,
        logs: list[Log],
        *,
        only_tasks: bool,
    ) -> HandlerResult:
        session = _AcknowledgingSession(ctx.session, [log.task.id for log in logs])
        meta = {SUBSCRIPTION_ID_META_KEY: ctx.request_id}
        result: HandlerResult = {"_meta": meta, "resultType": "complete"}
        async with anyio.create_task_group() as stream:

            async def core() -> None:
                nonlocal result
                result = await call_next(replace(ctx, session=session))  # type: ignore[arg-type]
                stream.cancel_scope.cancel()

            async def pushes() -> None:
                await session.acknowledged.wait()
                async with anyio.create_task_group() as each:
                    for log in logs:
                        each.start_soon(self._follow, ctx, caller, log, meta)
                if only_tasks:
                    # Nothing more can come: the stream ends by answering the request.
                    stream.cancel_scope.cancel()

            stream.start_soon(core)
            stream.start_soon(pushes)
        return result

    async def _follow(
        self, ctx: ServerRequestContext[Any, Any], caller: Caller, log: Log, meta: Mapping[str, Any]
    ) -> None:
        task = log.task
        while True:
            shown = await self._show(task, caller)
            shown["_meta"] = {**shown["_meta"], **meta}
            await ctx.session.send_notification(_TaskNotification(params=shown), related_request_id=ctx.request_id)  # type: ignore[arg-type]
            if task.is_over:
                return
            seen = task.last_event_id
            await anyio.sleep(PAUSE)
            while task.last_event_id <= seen:
                await log.wait(seen)
                try:
                    task = await self._engine.get(task.id, principal=caller.principal)
                except Unavailable:
                    await anyio.sleep(1.0)
                except NotFound:
                    return

    async def _known(self, ids: list[str], caller: Caller) -> list[Log]:
        """The logs of the tasks that the caller may follow; the acknowledgement leaves the others out."""
        found: list[Log] = []
        for task_id in ids:
            try:
                found.append(await self._engine.open(task_id, principal=caller.principal))
            except NotFound:
                continue
        return found


class _AcknowledgingSession:
    """The request's session, with the task ids in the one acknowledgement that goes through it."""

    def __init__(self, session: Any, task_ids: list[str]) -> None:
        self._session, self._task_ids = session, task_ids
        self.acknowledged = anyio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    async def send_notification(self, notification: Any, related_request_id: Any = None) -> None:
        if isinstance(notification, SubscriptionsAcknowledgedNotification):
            honoured = notification.params.notifications.model_dump(by_alias=True, exclude_none=True)
            extended = SubscriptionFilter.model_validate({**honoured, "taskIds": self._task_ids})
            params = notification.params.model_copy(update={"notifications": extended})
            notification = notification.model_copy(update={"params": params})
        await self._session.send_notification(notification, related_request_id=related_request_id)
        self.acknowledged.set()


def _task_ids(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise MCPError(INVALID_PARAMS, "taskIds must be a list of task ids")
    ids = list(dict.fromkeys(value))
    if len(ids) > MAX_TASK_IDS:
        raise MCPError(INVALID_PARAMS, f"one stream follows at most {MAX_TASK_IDS} tasks, got {len(ids)}")
    return ids
