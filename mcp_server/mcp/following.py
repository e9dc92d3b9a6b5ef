"""The tools that follow tasks: how far, with what result, several at once, and answering what they ask.

All of them wait rather than make the caller poll; how long is decided in `wait.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Annotated, Any, Literal

from mcp.server.mcpserver.context import Context
from pydantic import Field

from client_sdk import wire

from ..engine import Engine
from ..errors import CallerError, InvalidArgument
from ..jsonable import to_text
from ..log import Log
from ..task import Event, Status, Task
from ..views import frames, snapshot, start_of
from .advice import next_of_several, next_page
from .caller import Caller
from .paging import is_too_long, part_of
from .reply import Answered, failure
from .results import task_error
from .rounds import as_response
from .snapshots import Snapshots
from .wait import Applied, Waiter

__all__ = ["FollowingTools", "OperationId", "WaitSeconds"]

EVENTS_PER_REPLY = 200
MAX_WAITED_FOR = 100

OperationId = Annotated[str, Field(description="The id that start_long_task answered with")]
WaitSeconds = Annotated[
    float | None,
    Field(
        description="Hold the answer up to so many seconds, until the task ends or asks something. "
        "The end of the wait is no error and stops nothing"
    ),
]


class NotReady(CallerError):
    code = "NOT_READY"


class FollowingTools:
    """Tools over tasks that were started."""

    def __init__(self, engine: Engine, snapshots: Snapshots, waiter: Waiter) -> None:
        self._engine, self._snapshots, self._waiter = engine, snapshots, waiter

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
        applied = self._waiter.applied(caller, wait_seconds, "follow")
        if since is None or since >= task.last_event_id:
            task = await self._waiter.hold(ctx, task, applied, any_event=since is not None)
        reply = wire.ProgressReply(**await self._snapshots.advised(task, caller, applied))
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
    ) -> wire.Result | wire.NotReadyYet:
        """The output of a completed task. Pass wait_seconds to wait for it instead of polling.

        NOT_READY while it is still going (that is no failure: call again), TASK_FAILED or
        TASK_CANCELLED if it has none. A long result comes in pages.
        """
        caller = Caller.of(ctx)
        applied = self._waiter.applied(caller, wait_seconds, "follow")
        task = await self._engine.get(operation_id, principal=caller.principal)
        task = await self._waiter.hold(ctx, task, applied)
        if task.status in (Status.FAILED, Status.CANCELLED):
            raise task_error(task)
        if task.status is not Status.COMPLETED:
            raise Answered(await self._not_ready(task, caller, applied))
        budget = self._engine.settings.result_budget
        output, page = task.output, None
        if offset is not None or limit is not None or is_too_long(task, caller, budget):
            output, page = part_of(task, offset or 0, limit or budget)
        return wire.Result(
            operation_id=task.id,
            status=wire.TaskStatus.COMPLETED,
            output=output,
            result=output,
            completed_at=snapshot(task).completed_at,
            page=page,
            next=next_page(task, page),
            waited=applied.shown,
        )

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
        applied = self._waiter.applied(caller, wait_seconds, "follow")
        tasks = await self._waiter.until_several(ctx, tasks, applied, first=mode != "all")
        over = [task.id for task in tasks if task.is_over]
        asking = [task.id for task in tasks if task.input_requests]
        going_on = [task.id for task in tasks if not task.is_over and not task.input_requests]
        return wire.TasksReply(
            operations=[wire.Snapshot(**await self._snapshots.one(task, caller, share=len(tasks))) for task in tasks],
            over=over,
            waiting_for_input=asking,
            going_on=going_on,
            next=next_of_several(tasks, going_on, wait_seconds=self._waiter.worth(caller)),
            waited=applied.shown,
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
            got = key if len(key) <= 100 else key[:97] + "..."
            raise InvalidArgument(
                f"The task asks no question with the key {got!r}; open are: {known}",
                errors=[{"path": "key", "message": "is not an open question", "expected": known, "got": got}],
            )
        answered: list[str] = []
        if key in task.input_requests:
            full = as_response(task.input_requests[key], response)
            task, answered = await self._engine.answer(task.id, {key: full}, principal=caller.principal)
        return wire.AnswerReply(**await self._snapshots.advised(task, caller), answered=bool(answered))

    async def _not_ready(self, task: Task, caller: Caller, applied: Applied) -> Any:
        shown = await self._snapshots.advised(task, caller, applied)
        data = wire.NotReadyYet(**shown).model_dump(mode="json")
        status = shown["status"].value
        error = NotReady(f"The task is {status} ({task.progress:.0f} %); it has no result yet", next=shown["next"])
        return failure("get_task_result", error, data=data, is_error=False)


async def _events_after(log: Log, since: int, budget: int | None) -> list[Event]:
    """The events after a number that fit one answer: with a budget at least one, and then so many characters."""
    found = await log.read(since, EVENTS_PER_REPLY)
    if budget is None:
        return list(found)
    lengths = accumulate(len(to_text(event.data)) for event in found)
    return [event for n, (event, length) in enumerate(zip(found, lengths, strict=True)) if n == 0 or length <= budget]


def _as_stream_events(task: Task, found: Sequence[Event], since: int) -> list[wire.StreamEvent]:
    before, _ = start_of(task, since)
    shown = [*before, *frames(task, found)]
    return [wire.StreamEvent(id=number, event=name, data=data) for number, name, data in shown]
