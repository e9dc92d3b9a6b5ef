"""A task type's own tool, called by a client that does not follow tasks by itself.

The task runs as every other; the call is held as long as suits the caller, and answers
with the result if it came in time, else with a handle and the one call to make next.
A modern client without a session can be asked a running task's questions too: by
answering its call with them, and finding the task again when the call is repeated.
"""

from __future__ import annotations

import math
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp_types import CallToolRequestParams, CallToolResult, InputRequiredResult

from client_sdk import wire

from ..engine import Engine
from ..errors import NotFound, TryLater
from ..registry import TaskType
from ..task import Task
from .caller import Caller, missing_capability
from .paging import is_too_long
from .reply import success
from .results import protocol_error, tool_result
from .rounds import ask, running_task
from .snapshots import Snapshots
from .wait import Applied, Waiter

__all__ = ["DirectCalls"]

Request = ServerRequestContext[Any, Any]


class DirectCalls:
    """Holds calls of task tools and answers them, for one engine.

    Args:
        handles: whether a call may be answered with a handle: the server has the tools to
            come back with. Without them a call is held until the task is over.
    """

    def __init__(self, engine: Engine, *, handles: bool) -> None:
        self._engine, self._waiter = engine, Waiter(engine)
        self._handles = handles
        self._snapshots = Snapshots(engine, self._waiter)

    async def resumed(self, params: CallToolRequestParams, caller: Caller) -> Task | None:
        """The task an earlier round of this call started, with the answers this round brings; None in a first round.

        Raises:
            InvalidArgument: an answer does not fit its question.
        """
        task_id, responses = running_task(params)
        if task_id is None:
            return None
        try:
            task, _ = await self._engine.answer(task_id, responses, principal=caller.principal)
        except NotFound:
            return None  # it has expired meanwhile; the call begins again
        return task

    async def answer(
        self, task: Task, task_type: TaskType, caller: Caller, ctx: Request
    ) -> CallToolResult | InputRequiredResult:
        """Wait for the task and answer the call."""
        applied = self._applied(task_type, caller, ctx)
        try:
            task = await self._waiter.hold(ctx, task, applied)
        except TryLater as error:
            # The task is safe; without its id the caller could not find it again.
            error.details.update(operation_id=task.id)
            raise
        in_pages = self._handles and is_too_long(task, caller, self._engine.settings.result_budget)
        if task.is_over and not in_pages:
            if (raised := protocol_error(task)) is not None:
                raise raised
            return tool_result(task, task_type.output_schema)
        if task.input_requests and caller.modern and caller.answers_forms and applied.seconds > 0:
            return ask(task.input_requests, operation_id=task.id)
        if not self._handles:
            # Nobody knows its id, so nobody else can answer it either.
            await self._engine.cancel(task.id, "The caller cannot be asked", principal=caller.principal)
            raise missing_capability("a way to ask the user", {"elicitation": {}})
        return success(task_type.name, await self._snapshots.started(task, caller, applied))

    def _applied(self, task_type: TaskType, caller: Caller, ctx: Request) -> Applied:
        if task_type.policy.mode == "never":
            return Applied(seconds=math.inf, reason="this tool always answers with its result")
        if not self._handles:
            return Applied(seconds=math.inf, reason="there is no other way to the result")
        asked = (ctx.meta or {}).get(wire.WAIT_META_KEY)
        seconds = float(asked) if isinstance(asked, int | float) else None
        return self._waiter.applied(caller, seconds, "follow")
