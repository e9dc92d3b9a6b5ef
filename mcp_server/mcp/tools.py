"""The nine tools that any MCP client can call, with or without extensions.

Each is a view of the engine; the data they answer with are in `client_sdk.wire`. Those that
follow a task wait rather than make the caller poll; `wait.py` decides how long.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import Field

from client_sdk import wire

from ..errors import InvalidArgument
from ..jsonable import to_json_text
from ..log import Log
from ..questions import as_response
from ..task import Event, Status, Task
from ..views import frames, no_result, start_of, task_types
from .advice import next_events, next_of_list, next_of_several
from .caller import Caller
from .reply import ReplyTool, TaskReplies, waited
from .results import Answered, error_reply, task_error
from .wait import Hold

__all__ = ["LongTaskTools"]

DEFAULT_LIMIT = 20
EVENTS_PER_REPLY = 200
MAX_WAITED_FOR = 100

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
_CANCELS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

OperationId = Annotated[str, Field(description="As start_long_task answered")]
WaitSeconds = Annotated[float | None, Field(description="Hold the answer so long at most; stops nothing")]
Since = Annotated[float | None, Field(ge=0, allow_inf_nan=False, description="As `next` says; does not end the wait")]


class LongTaskTools:
    """The tools, for one engine."""

    def __init__(self, replies: TaskReplies) -> None:
        self._engine, self._waiter, self._replies = replies.engine, replies.waiter, replies

    def tools(self) -> list[ReplyTool]:
        return [
            ReplyTool.of(self.start_long_task, annotations=_WRITES),
            ReplyTool.of(self.get_task_progress, annotations=_READS),
            ReplyTool.of(self.get_task_result, annotations=_READS),
            ReplyTool.of(self.wait_for_tasks, annotations=_READS),
            ReplyTool.of(self.respond_to_task, annotations=_WRITES),
            ReplyTool.of(self.cancel_task, annotations=_CANCELS),
            ReplyTool.of(self.list_operations, annotations=_READS),
            ReplyTool.of(self.list_task_types, annotations=_READS),
            ReplyTool.of(self.retry_task, annotations=_WRITES),
        ]

    async def start_long_task(
        self,
        ctx: Context,
        task_type: Annotated[str, Field(description="One of list_task_types")],
        arguments: Annotated[dict[str, Any] | None, Field(description="As the task type's schema asks")] = None,
        duration_seconds: Annotated[float | None, Field(description="Short for arguments.duration_seconds")] = None,
        steps: Annotated[int | None, Field(description="Short for arguments.steps")] = None,
        metadata: Annotated[dict[str, Any] | None, Field(description="Echoed with the task")] = None,
        idempotency_key: Annotated[str | None, Field(description="The same key never starts a second task")] = None,
        priority: Annotated[int | None, Field(description="0 to 9, default 0; higher runs first")] = None,
        start_after: Annotated[float | None, Field(description="Seconds before it may run")] = None,
        wait_seconds: WaitSeconds = None,
    ) -> wire.StartReply:
        """Start a long task in the background and get its operation_id.

        The task goes on whatever happens to this conversation, so start it once. Then wait for its end
        with get_task_result and wait_seconds; do not poll in a loop.
        """
        caller = Caller.of(ctx)
        merged = self._merged(task_type, arguments, duration_seconds=duration_seconds, steps=steps)
        task = await self._engine.start(
            task_type,
            merged,
            principal=caller.principal,
            metadata=metadata,
            idempotency_key=idempotency_key,
            priority=priority or 0,
            start_after=start_after or 0.0,
        )
        hold = self._waiter.decide(caller, wait_seconds, "start")
        task = await self._waiter.wait(ctx, task, hold)
        return await self._replies.started(task, caller, hold)

    async def get_task_progress(
        self,
        ctx: Context,
        operation_id: OperationId,
        wait_seconds: WaitSeconds = None,
        since: Annotated[
            int | None, Field(ge=0, description="Number of the last event you know, or 0: adds newer events")
        ] = None,
    ) -> wire.ProgressReply:
        """Progress of a task: status, percent, message, estimated time left.

        To wait for its end call get_task_result instead of polling this. With wait_seconds the answer
        comes when the task ends or asks something; with since also at the next event.
        """
        caller = Caller.of(ctx)
        log = await self._engine.open(operation_id, principal=caller.principal)
        task = log.task
        hold = self._waiter.decide(caller, wait_seconds, "follow")
        if since is None or since >= task.last_event_id:
            task = await self._waiter.wait(ctx, task, hold, any_event=since is not None)
        reply = wire.ProgressReply(**await self._replies.advised(task, caller, hold, since=since))
        if since is not None:
            before, cursor = start_of(task, since)
            budget = None if caller.is_bare else self._engine.settings.result_budget
            found = await _events_between(log, cursor, task.last_event_id, budget)
            reply.events = [frame.as_wire() for frame in (*before, *frames(task, found))]
            if found and found[-1].number < task.last_event_id:
                reply.next = next_events(task, found[-1].number)
        return reply

    async def get_task_result(
        self,
        ctx: Context,
        operation_id: OperationId,
        wait_seconds: WaitSeconds = None,
        since: Since = None,
        offset: Annotated[int | None, Field(ge=0, description="next_offset of the previous page")] = None,
        limit: Annotated[int | None, Field(ge=1, description="Characters per page")] = None,
    ) -> wire.Result | wire.NotReadyData:
        """The output of a completed task. Pass wait_seconds to wait for it instead of polling.

        NOT_READY while it is unfinished is no failure: make the call that `next` names. TASK_FAILED or
        TASK_CANCELLED if it has no output. A long result comes in pages.
        """
        caller = Caller.of(ctx)
        hold = self._waiter.decide(caller, wait_seconds, "follow")
        task = await self._engine.get(operation_id, principal=caller.principal)
        task = await self._waiter.wait(ctx, task, hold)
        if task.status in (Status.FAILED, Status.CANCELLED):
            raise task_error(task)
        if task.status is not Status.COMPLETED:
            raise Answered(await self._not_ready(task, caller, hold, since))
        return self._replies.result(task, caller, hold, offset=offset, limit=limit)

    async def wait_for_tasks(
        self,
        ctx: Context,
        operation_ids: Annotated[list[str], Field(min_length=1, max_length=MAX_WAITED_FOR)],
        mode: Annotated[
            Literal["any", "all"] | None,
            Field(description="any (default): until one ends; all: until each has"),
        ] = None,
        wait_seconds: WaitSeconds = None,
        since: Since = None,
    ) -> wire.TasksReply:
        """Wait for several tasks at once, instead of polling each. A task that asks something counts as ended."""
        caller = Caller.of(ctx)
        ids = list(dict.fromkeys(operation_ids))
        tasks = [await self._engine.get(task_id, principal=caller.principal) for task_id in ids]
        hold = self._waiter.decide(caller, wait_seconds, "follow")
        tasks = await self._waiter.wait_for_several(ctx, tasks, hold, first=mode != "all")
        ended = [task.id for task in tasks if task.is_over]
        asking = [task.id for task in tasks if task.input_requests]
        unfinished = [task.id for task in tasks if not task.is_over and not task.input_requests]
        return wire.TasksReply(
            operations=await self._replies.snapshots(tasks, caller),
            ended=ended,
            waiting_for_input=asking,
            unfinished=unfinished,
            next=next_of_several(tasks, unfinished, wait_seconds=self._waiter.suggested_wait(caller), given=since),
            waited=waited(caller, hold, goes_on=bool(unfinished)),
        )

    async def respond_to_task(
        self,
        ctx: Context,
        operation_id: OperationId,
        key: Annotated[str, Field(max_length=500, description="Of the question, from input_requests")],
        response: Annotated[
            Any,
            Field(description='The fields asked for, such as {"confirm": true}, or {"action": "decline"}'),
        ],
    ) -> wire.AnswerReply:
        """Answer a question of a task whose status is input_required. The task then goes on by itself."""
        caller = Caller.of(ctx)
        task = await self._engine.get(operation_id, principal=caller.principal)
        if key not in task.input_requests and key not in task.answers:
            known = ", ".join(task.input_requests) or "none are open"
            raise InvalidArgument.at("key", f"is not an open question; open are: {known}", known, key)
        answered: list[str] = []
        if key in task.input_requests:
            full = as_response(task.input_requests[key], response)
            task, answered = await self._engine.answer(task.id, {key: full}, principal=caller.principal)
        return wire.AnswerReply(**await self._replies.advised(task, caller), answered=bool(answered))

    async def cancel_task(
        self,
        ctx: Context,
        operation_id: OperationId,
        reason: Annotated[str | None, Field(max_length=2000, description="Kept with the task")] = None,
    ) -> wire.CancelReply:
        """Stop a task. Harmless when repeated or when it has ended; `outcome` says which."""
        caller = Caller.of(ctx)
        # Most functions stop at once; then the answer can say so.
        task, outcome = await self._engine.cancel(operation_id, reason, principal=caller.principal, patience=0.25)
        return wire.CancelReply(**await self._replies.advised(task, caller), outcome=outcome)

    async def list_operations(
        self,
        ctx: Context,
        status: str | None = None,
        task_type: str | None = None,
        limit: Annotated[int | None, Field(description="1 to 100, default 20")] = None,
        cursor: Annotated[str | None, Field(description="next_cursor of the previous page")] = None,
    ) -> wire.Operations:
        """Your tasks, newest first; also to find a lost operation_id. To wait for one, call get_task_result."""
        caller = Caller.of(ctx)
        wanted = DEFAULT_LIMIT if limit is None else limit
        page = await self._engine.list(
            principal=caller.principal, status=status, task_type=task_type, limit=wanted, cursor=cursor
        )
        operations = await self._replies.snapshots(page.tasks, caller)
        advice = next_of_list(len(operations), page.next_cursor, wait_seconds=self._waiter.suggested_wait(caller))
        return wire.Operations(operations=operations, count=len(operations), next_cursor=page.next_cursor, next=advice)

    async def list_task_types(self) -> wire.TaskTypes:
        """The task types that can be started: name, description, arguments as JSON Schema, policy."""
        return wire.TaskTypes(task_types=task_types(self._engine.registry))

    async def retry_task(self, ctx: Context, operation_id: OperationId) -> wire.StartReply:
        """Start a failed or cancelled task again: a new task, from the last checkpoint of the old one."""
        caller = Caller.of(ctx)
        task = await self._engine.retry(operation_id, principal=caller.principal)
        return await self._replies.started(task, caller, None)

    def _merged(self, task_type: str, arguments: dict[str, Any] | None, **shorthand: Any) -> dict[str, Any]:
        accepted = self._engine.registry.get(task_type)
        given = {name: value for name, value in shorthand.items() if value is not None and accepted.accepts(name)}
        return {**given, **(arguments or {})}

    async def _not_ready(self, task: Task, caller: Caller, hold: Hold, since: float | None) -> CallToolResult:
        fields = await self._replies.advised(task, caller, hold, since=since)
        error = no_result(task, next=fields["next"])
        data = wire.NotReadyData(**fields)
        return error_reply("get_task_result", error, terse=not caller.is_bare, data=data, is_error=False)


async def _events_between(log: Log, after: int, last: int, budget: int | None) -> list[Event]:
    """The events after a number that fit one answer: with a budget at least one, and then so many characters.

    Args:
        last: number of the last event of the snapshot in the same answer; newer ones are for the next.
    """
    found = [event for event in await log.read(after, EVENTS_PER_REPLY) if event.number <= last]
    if budget is None:
        return found
    lengths = accumulate(len(to_json_text(event.data)) for event in found)
    return [event for n, (event, length) in enumerate(zip(found, lengths, strict=True)) if n == 0 or length <= budget]
