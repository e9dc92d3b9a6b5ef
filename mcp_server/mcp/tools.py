"""The tools any MCP client can call, with or without extensions: start, watch, collect, cancel.

Each is a view of the engine; what they answer is in `client_sdk.wire`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp_types import ToolAnnotations
from pydantic import Field

from client_sdk import wire

from ..engine import Engine
from ..errors import CallerError
from ..task import Status, Task
from ..views import first_lost, frames, gap, snapshot
from .owner import owner_of
from .replies import Answered, ReplyTool, failure

__all__ = ["LongTaskTools"]

EVENTS_PER_REPLY = 200
POLL_INTERVAL_SECONDS = 1.0

OperationId = Annotated[str, Field(description="The id that start_long_task answered with")]
WaitSeconds = Annotated[
    float | None,
    Field(ge=0, description="Wait up to so many seconds for the end (or a question) before answering"),
]


class NotReady(CallerError):
    code = "NOT_READY"


class TaskFailed(CallerError):
    code = "TASK_FAILED"


class TaskCancelled(CallerError):
    code = "TASK_CANCELLED"


class LongTaskTools:
    """The seven tools, for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def tools(self) -> list[ReplyTool]:
        reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
        writes = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
        cancels = ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
        )
        return [
            _tool(self.start_long_task, writes),
            _tool(self.get_task_progress, reads),
            _tool(self.get_task_result, reads),
            _tool(self.cancel_task, cancels),
            _tool(self.list_operations, reads),
            _tool(self.list_task_types, reads),
            _tool(self.retry_task, writes),
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
        wait_seconds: WaitSeconds = None,
    ) -> wire.StartReply:
        """Start a long task in the background and answer with its operation_id at once.

        The task goes on whatever happens to this conversation. Follow it with
        get_task_progress, collect its output with get_task_result.
        """
        merged = self._merged(task_type, arguments, duration_seconds=duration_seconds, steps=steps)
        task = await self._engine.start(
            task_type, merged, owner=owner_of(ctx), metadata=metadata, idempotency_key=idempotency_key
        )
        task = await self._waited(task, wait_seconds)
        shown = await self._snapshot(task)
        return wire.StartReply(
            **shown, stream_url=f"/progress/{task.id}/stream", poll_interval_seconds=POLL_INTERVAL_SECONDS
        )

    async def get_task_progress(
        self,
        ctx: Context,
        operation_id: OperationId,
        wait_seconds: WaitSeconds = None,
        since: Annotated[
            int | None, Field(ge=0, description="last_event_id of the previous answer: adds the events since then")
        ] = None,
    ) -> wire.ProgressReply:
        """How far a task is: status, percent, message, estimated time left.

        With wait_seconds the answer comes when the task ends or asks something; with
        `since` as well, as soon as anything new happened.
        """
        task = await self._engine.get(operation_id, owner=owner_of(ctx))
        if since is None or since >= task.last_event_id:
            task = await self._waited(task, wait_seconds, any_event=since is not None)
        reply = wire.ProgressReply(**await self._snapshot(task))
        if since is not None:
            reply.events = await self._events(task, since)
        return reply

    async def get_task_result(
        self, ctx: Context, operation_id: OperationId, wait_seconds: WaitSeconds = None
    ) -> wire.Result:
        """The output of a completed task.

        NOT_READY while it is still going (that is no failure), TASK_FAILED or TASK_CANCELLED if it has none.
        """
        task = await self._waited(await self._engine.get(operation_id, owner=owner_of(ctx)), wait_seconds)
        shown = snapshot(task)
        if task.status is Status.FAILED:
            assert shown.error is not None
            raise TaskFailed(shown.error.message, operation_id=task.id, **shown.error.model_dump(exclude={"message"}))
        if task.status is Status.CANCELLED:
            raise TaskCancelled("The task was cancelled", operation_id=task.id, reason=task.reason)
        if task.status is not Status.COMPLETED:
            data = shown.model_dump(mode="json", include={"operation_id", "status", "progress", "message"})
            error = NotReady(f"The task is {shown.status.value} ({shown.progress:.0f} %); it has no result yet")
            raise Answered(failure("get_task_result", error, data=data, is_error=False))
        return wire.Result(
            operation_id=task.id,
            status=shown.status,
            output=task.output,
            result=task.output,
            completed_at=shown.completed_at,
        )

    async def cancel_task(
        self,
        ctx: Context,
        operation_id: OperationId,
        reason: Annotated[str | None, Field(max_length=2000, description="Kept with the task")] = None,
    ) -> wire.CancelReply:
        """Stop a task. Harmless when repeated or when it is over; `outcome` says which."""
        owner = owner_of(ctx)
        before = await self._engine.get(operation_id, owner=owner)
        task = await self._engine.cancel(operation_id, reason, owner=owner)
        if before.is_over:
            cancelled = before.status is Status.CANCELLED
            outcome = wire.CancelOutcome.ALREADY_CANCELLED if cancelled else wire.CancelOutcome.ALREADY_OVER
        else:
            # Most functions stop at once; then the answer can say so.
            task = await self._engine.wait(task, 0.25)
            stopped = task.status is Status.CANCELLED
            outcome = wire.CancelOutcome.CANCELLED if stopped else wire.CancelOutcome.CANCEL_REQUESTED
        return wire.CancelReply(**await self._snapshot(task), outcome=outcome)

    async def list_operations(
        self,
        ctx: Context,
        status: Annotated[str | None, Field(description="Only tasks in this status")] = None,
        task_type: Annotated[str | None, Field(description="Only tasks of this type")] = None,
        limit: Annotated[int, Field(description="1 to 100")] = 20,
        cursor: Annotated[str | None, Field(description="next_cursor of the previous page")] = None,
    ) -> wire.Operations:
        """Your tasks, newest first. Finds a task again whose id was lost."""
        page = await self._engine.list(
            owner=owner_of(ctx), status=status, task_type=task_type, limit=limit, cursor=cursor
        )
        operations = [wire.Snapshot(**await self._snapshot(task)) for task in page.tasks]
        return wire.Operations(operations=operations, count=len(operations), next_cursor=page.next_cursor)

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
        task = await self._engine.retry(operation_id, owner=owner_of(ctx))
        shown = await self._snapshot(task)
        return wire.StartReply(
            **shown, stream_url=f"/progress/{task.id}/stream", poll_interval_seconds=POLL_INTERVAL_SECONDS
        )

    def _merged(self, task_type: str, arguments: dict[str, Any] | None, **shorthand: Any) -> dict[str, Any]:
        accepted = self._engine.registry.get(task_type)
        given = {name: value for name, value in shorthand.items() if value is not None and accepted.accepts(name)}
        return {**given, **(arguments or {})}

    async def _waited(self, task: Task, seconds: float | None, *, any_event: bool = False) -> Task:
        if not seconds:
            return task
        return await self._engine.wait(task, min(seconds, self._engine.settings.max_wait), any_event=any_event)

    async def _snapshot(self, task: Task) -> dict[str, Any]:
        return snapshot(task, queue_position=await self._engine.queue_position(task)).model_dump()

    async def _events(self, task: Task, since: int) -> list[wire.StreamEvent]:
        found = [] if since >= task.last_event_id else await self._engine.read(task.id, since, EVENTS_PER_REPLY)
        shown = frames(task, found)
        if first_lost(task, since):
            shown.insert(0, gap(task))
        return [wire.StreamEvent(id=number, event=name, data=data) for number, name, data in shown]


def _tool(function: Callable[..., Any], annotations: ToolAnnotations) -> ReplyTool:
    return ReplyTool.of(function, annotations=annotations)
