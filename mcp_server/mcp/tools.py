"""The tools any MCP client can call, with or without extensions: start, find, cancel, start again.

Each is a view of the engine; what they answer is in `client_sdk.wire`. The tools that
follow a task that was started are in `following.py`.
"""

from __future__ import annotations

from typing import Annotated, Any

from mcp.server.mcpserver.context import Context
from mcp_types import ToolAnnotations
from pydantic import Field

from client_sdk import wire

from ..engine import Engine
from ..task import Status
from .advice import next_of_list
from .caller import Caller
from .following import FollowingTools, OperationId, WaitSeconds
from .reply import ReplyTool
from .snapshots import Snapshots
from .wait import Waiter

__all__ = ["LongTaskTools"]

DEFAULT_LIMIT = 20

_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
_CANCELS = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False)


class LongTaskTools:
    """The tools, for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiter = Waiter(engine)
        self._snapshots = Snapshots(engine, self._waiter)
        self._following = FollowingTools(engine, self._snapshots, self._waiter)

    def tools(self) -> list[ReplyTool]:
        return [
            ReplyTool.of(self.start_long_task, annotations=_WRITES),
            ReplyTool.of(self._following.get_task_progress, annotations=_READS),
            ReplyTool.of(self._following.get_task_result, annotations=_READS),
            ReplyTool.of(self._following.wait_for_tasks, annotations=_READS),
            ReplyTool.of(self._following.respond_to_task, annotations=_WRITES),
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
        applied = self._waiter.applied(caller, wait_seconds, "start")
        task = await self._waiter.hold(ctx, task, applied)
        return await self._snapshots.started(task, caller, applied)

    async def cancel_task(
        self,
        ctx: Context,
        operation_id: OperationId,
        reason: Annotated[str | None, Field(max_length=2000, description="Kept with the task")] = None,
    ) -> wire.CancelReply:
        """Stop a task. Harmless when repeated or when it is over; `outcome` says which."""
        caller = Caller.of(ctx)
        before = await self._engine.get(operation_id, principal=caller.principal)
        task = await self._engine.cancel(operation_id, reason, principal=caller.principal)
        if before.is_over:
            cancelled = before.status is Status.CANCELLED
            outcome = wire.CancelOutcome.ALREADY_CANCELLED if cancelled else wire.CancelOutcome.ALREADY_OVER
        else:
            # Most functions stop at once; then the answer can say so.
            task = await self._engine.wait(task, 0.25)
            stopped = task.status is Status.CANCELLED
            outcome = wire.CancelOutcome.CANCELLED if stopped else wire.CancelOutcome.CANCEL_REQUESTED
        return wire.CancelReply(**await self._snapshots.advised(task, caller), outcome=outcome)

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
        share = max(1, len(page.tasks))
        operations = [wire.Snapshot(**await self._snapshots.one(task, caller, share=share)) for task in page.tasks]
        advice = next_of_list(len(operations), page.next_cursor, wait_seconds=self._waiter.worth(caller))
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
        return await self._snapshots.started(task, caller, None)

    def _merged(self, task_type: str, arguments: dict[str, Any] | None, **shorthand: Any) -> dict[str, Any]:
        accepted = self._engine.registry.get(task_type)
        given = {name: value for name, value in shorthand.items() if value is not None and accepted.accepts(name)}
        return {**given, **(arguments or {})}
