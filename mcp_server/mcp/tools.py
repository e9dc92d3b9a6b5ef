"""The nine tools that any MCP client can call, with or without extensions.

Each is a view of the engine; the data they answer with are in `client_sdk.wire`. Those that
follow a task wait rather than make the caller poll; `wait.py` decides how long.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.context import Context
from mcp_types import ToolAnnotations
from pydantic import Field

from client_sdk import wire

from ..errors import InvalidArgument, NotReady
from ..jsonable import to_json_text
from ..log import Log
from ..task import Event, Status, Task
from ..views import frames, start_of
from .advice import next_of_list, next_of_several
from .caller import Caller
from .reply import ReplyTool, TaskReplies
from .results import Answered, error_reply, task_error
from .rounds import as_response
from .wait import Hold

__all__ = ["LongTaskTools"]

DEFAULT_LIMIT = 20
EVENTS_PER_REPLY = 200
MAX_WAITED_FOR = 100

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
_CANCELS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)

OperationId = Annotated[str, Field(description="The id that start_long_task answered with")]
WaitSeconds = Annotated[
    float | None,
    Field(
        description="Hold the answer up to so many seconds, until the task ends or asks something. "
        "The end of the wait is no error and stops nothing"
    ),
]


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
        arguments: Annotated[dict[str, Any] | None, Field(description="What the task type's schema asks for")] = None,
        duration_seconds: Annotated[float | None, Field(description="Short for arguments.duration_seconds")] = None,
        steps: Annotated[int | None, Field(description="Short for arguments.steps")] = None,
        metadata: Annotated[dict[str, Any] | None, Field(description="Echoed with the task")] = None,
        idempotency_key: Annotated[
            str | None, Field(description="The same key with the same arguments never starts a second task")
        ] = None,
        priority: Annotated[int | None, Field(description="0 to 9, default 0; higher is run first")] = None,
        start_after: Annotated[float | None, Field(description="Seconds before it may run, default 0")] = None,
        wait_seconds: WaitSeconds = None,
    ) -> wire.StartReply:
        """Start a long task in the background and get its operation_id.

        The task goes on whatever happens to this conversation, so start it once. Then call
        get_task_result with wait_seconds to wait for its end; do not poll in a loop.
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
            int | None, Field(ge=0, description="Number of the last event you know, 0 for none: adds those after it")
        ] = None,
    ) -> wire.ProgressReply:
        """How far a task is: status, percent, message, estimated time left.

        To wait for the end call get_task_result instead. With wait_seconds the answer comes
        when the task ends or asks something; with `since` as well, as soon as anything new happened.
        """
        caller = Caller.of(ctx)
        log = await self._engine.open(operation_id, principal=caller.principal)
        task = log.task
        hold = self._waiter.decide(caller, wait_seconds, "follow")
        if since is None or since >= task.last_event_id:
            task = await self._waiter.wait(ctx, task, hold, any_event=since is not None)
        reply = wire.ProgressReply(**await self._replies.advised(task, caller, hold))
        if since is not None:
            budget = None if caller.is_bare else self._engine.settings.result_budget
            found = await _events_after(log, since, budget)
            reply.events = _as_stream_events(task, found, since)
            if found and found[-1].number < task.last_event_id:
                number = found[-1].number
                reply.next = (
                    f"There are more events, up to {task.last_event_id}; for the next call "
                    f'get_task_progress(operation_id="{task.id}", since={number}). {reply.next}'
                )
        return reply

    async def get_task_result(
        self,
        ctx: Context,
        operation_id: OperationId,
        wait_seconds: WaitSeconds = None,
        offset: Annotated[
            int | None, Field(ge=0, description="next_offset of the previous page of a long result")
        ] = None,
        limit: Annotated[int | None, Field(ge=1, description="Characters of the result to answer with at most")] = None,
    ) -> wire.Result | wire.NotReadyData:
        """The output of a completed task. Pass wait_seconds to wait for it instead of polling.

        NOT_READY while it is still going (that is no failure: call again), TASK_FAILED or
        TASK_CANCELLED if it has none. A long result comes in pages.
        """
        caller = Caller.of(ctx)
        hold = self._waiter.decide(caller, wait_seconds, "follow")
        task = await self._engine.get(operation_id, principal=caller.principal)
        task = await self._waiter.wait(ctx, task, hold)
        if task.status in (Status.FAILED, Status.CANCELLED):
            raise task_error(task)
        if task.status is not Status.COMPLETED:
            raise Answered(await self._not_ready(task, caller, hold))
        return self._replies.result(task, caller, hold, offset=offset, limit=limit)

    async def wait_for_tasks(
        self,
        ctx: Context,
        operation_ids: Annotated[list[str], Field(min_length=1, max_length=MAX_WAITED_FOR)],
        mode: Annotated[
            Literal["any", "all"] | None,
            Field(description="any, also if not given: until the first of them ends; all: until every one has"),
        ] = None,
        wait_seconds: WaitSeconds = None,
    ) -> wire.TasksReply:
        """Wait for several tasks at once. A task that asks something ends the wait as one that is over does."""
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
            next=next_of_several(tasks, unfinished, wait_seconds=self._waiter.suggested_wait(caller)),
            waited=hold.as_wire(),
        )

    async def respond_to_task(
        self,
        ctx: Context,
        operation_id: OperationId,
        key: Annotated[str, Field(max_length=500, description="Of the question in input_requests")],
        response: Annotated[
            Any,
            Field(
                description='The fields the question asks for, such as {"confirm": true}, or an elicitation result '
                'such as {"action": "decline"}'
            ),
        ],
    ) -> wire.AnswerReply:
        """Answer a question that a task asks (status input_required). The task then goes on by itself."""
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
        """Stop a task. Harmless when repeated or when it is over; `outcome` says which."""
        caller = Caller.of(ctx)
        # Most functions stop at once; then the answer can say so.
        task, outcome = await self._engine.cancel(operation_id, reason, principal=caller.principal, patience=0.25)
        return wire.CancelReply(**await self._replies.advised(task, caller), outcome=outcome)

    async def list_operations(
        self,
        ctx: Context,
        status: Annotated[str | None, Field(description="Only tasks in this status")] = None,
        task_type: Annotated[str | None, Field(description="Only tasks of this type")] = None,
        limit: Annotated[int | None, Field(description="1 to 100, 20 if not given")] = None,
        cursor: Annotated[str | None, Field(description="next_cursor of the previous page")] = None,
    ) -> wire.Operations:
        """Your tasks, newest first. Finds a task again whose id was lost."""
        caller = Caller.of(ctx)
        wanted = DEFAULT_LIMIT if limit is None else limit
        page = await self._engine.list(
            principal=caller.principal, status=status, task_type=task_type, limit=wanted, cursor=cursor
        )
        operations = await self._replies.snapshots(page.tasks, caller)
        advice = next_of_list(len(operations), page.next_cursor, wait_seconds=self._waiter.suggested_wait(caller))
        return wire.Operations(operations=operations, count=len(operations), next_cursor=page.next_cursor, next=advice)

    async def list_task_types(self) -> wire.TaskTypes:
        """What can be started: each task type's name, description, arguments as JSON Schema, and policy."""
        types = [
            wire.TaskTypeInfo(
                name=t.name, description=t.description, input_schema=dict(t.input_schema), policy=t.policy.public()
            )
            for t in self._engine.registry
        ]
        return wire.TaskTypes(task_types=types)

    async def retry_task(self, ctx: Context, operation_id: OperationId) -> wire.StartReply:
        """Start a failed or cancelled task again, as a new task that goes on from its last checkpoint."""
        caller = Caller.of(ctx)
        task = await self._engine.retry(operation_id, principal=caller.principal)
        return await self._replies.started(task, caller, None)

    def _merged(self, task_type: str, arguments: dict[str, Any] | None, **shorthand: Any) -> dict[str, Any]:
        accepted = self._engine.registry.get(task_type)
        given = {name: value for name, value in shorthand.items() if value is not None and accepted.accepts(name)}
        return {**given, **(arguments or {})}

    async def _not_ready(self, task: Task, caller: Caller, hold: Hold) -> Any:
        shown = await self._replies.advised(task, caller, hold)
        data = wire.NotReadyData(**shown).model_dump(mode="json")
        status = shown["status"].value
        error = NotReady(f"The task is {status} ({task.progress:.0f} %); it has no result yet", next=shown["next"])
        return error_reply("get_task_result", error, data=data, is_error=False)


async def _events_after(log: Log, since: int, budget: int | None) -> list[Event]:
    """The events after a number that fit one answer: with a budget at least one, and then so many characters."""
    found = await log.read(since, EVENTS_PER_REPLY)
    if budget is None:
        return list(found)
    lengths = accumulate(len(to_json_text(event.data)) for event in found)
    return [event for n, (event, length) in enumerate(zip(found, lengths, strict=True)) if n == 0 or length <= budget]


def _as_stream_events(task: Task, found: Sequence[Event], since: int) -> list[wire.StreamEvent]:
    before, _ = start_of(task, since)
    shown = [*before, *frames(task, found)]
    return [wire.StreamEvent(id=number, event=name, data=data) for number, name, data in shown]
