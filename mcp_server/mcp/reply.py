"""Tasks as the `data` of answers, and the `Tool` that puts data into our envelope.

`TaskReplies` is the one place that decides how much of a long result an answer carries.
A bare request is a program's and gets everything; an MCP client is taken for an agent's
host, whose answers should stay short: a long result comes in pages, and whole as an MCP
resource.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Sequence
from typing import Any, Self, get_type_hints

from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError
from mcp.server.mcpserver.tools import Tool
from pydantic import ValidationError

from client_sdk import wire

from ..engine import Engine
from ..errors import CallerError, Internal, InvalidArgument, NotFound, cut, did_you_mean, shown
from ..jsonable import to_json_text
from ..signature import explain
from ..task import Status, Task
from ..views import snapshot
from .advice import next_page, next_since, next_step
from .caller import Caller, is_bare
from .results import Answered, error_reply, reply_schema, success
from .wait import Hold, Waiter

__all__ = [
    "POLL_INTERVAL_SECONDS",
    "RESULT_URI",
    "STREAM_URL",
    "ReplyTool",
    "TaskReplies",
    "result_reader",
    "stream_url",
    "waited",
]

POLL_INTERVAL_SECONDS = 1.0
RESULT_URI = "longtask://{operation_id}/result"
STREAM_URL = "/progress/{operation_id}/stream"

logger = logging.getLogger(__name__)


class TaskReplies:
    """Turns tasks into the `data` of replies, for one engine."""

    def __init__(self, engine: Engine, waiter: Waiter) -> None:
        self.engine, self.waiter = engine, waiter

    async def snapshots(self, tasks: Sequence[Task], caller: Caller) -> list[wire.Snapshot]:
        """Several tasks, whose outputs share the answer's budget."""
        return [wire.Snapshot(**await self._snapshot(task, caller, share=len(tasks))) for task in tasks]

    async def _snapshot(self, task: Task, caller: Caller, *, share: int = 1) -> dict[str, Any]:
        """The fields of `wire.Snapshot`; the output is left out if it is too long for this caller."""
        position = await self.engine.queue_position(task)
        fields = dict(snapshot(task, queue_position=position))
        if not caller.is_bare:
            fields = _coarse(fields)
        if self._exceeds(task, caller, self.engine.settings.result_budget // share):
            fields["output"] = None
        return fields

    async def advised(
        self, task: Task, caller: Caller, hold: Hold | None = None, *, since: float | None = None
    ) -> dict[str, Any]:
        """The fields of `wire.Snapshot`, with the hold that was applied and the next step.

        Args:
            since: that of the call that is answered.
        """
        fields = await self._snapshot(task, caller)
        advice = next_step(
            task,
            wait_seconds=self.waiter.suggested_wait(caller),
            since=next_since(task.last_event_id, since),
            queue_position=fields["queue_position"],
            shows_output=fields["output"] is not None or task.output is None,
        )
        return {**fields, "next": advice, "waited": waited(caller, hold, goes_on=not task.is_over)}

    async def started(self, task: Task, caller: Caller, hold: Hold | None) -> wire.StartReply:
        """The data of `start_long_task`, and of a task type's own tool whose task has not ended in time."""
        fields, page = await self.advised(task, caller, hold), None
        if self.is_paged(task, caller):
            fields["output"], page = _page(task, 0, self.engine.settings.result_budget)
            fields["next"] = next_page(task, page)
        elif not task.is_over:
            fields["next"] += " Do not start it again."
        return wire.StartReply(
            **fields,
            stream_url=stream_url(STREAM_URL, task, caller),
            poll_interval_seconds=POLL_INTERVAL_SECONDS,
            page=page,
        )

    def result(
        self, task: Task, caller: Caller, hold: Hold, *, offset: int | None = None, limit: int | None = None
    ) -> wire.Result:
        """The result of a completed task: whole, or the page that was asked for."""
        output, page = task.output, None
        if offset is not None or limit is not None or self.is_paged(task, caller):
            output, page = _page(task, offset or 0, limit or self.engine.settings.result_budget)
        return wire.Result(
            operation_id=task.id,
            status=wire.TaskStatus.COMPLETED,
            output=output,
            result=output if caller.is_bare else None,
            completed_at=snapshot(task).completed_at,
            page=page,
            next=next_page(task, page),
            waited=hold.as_wire() if caller.is_bare else None,
        )

    def is_paged(self, task: Task, caller: Caller) -> bool:
        """Whether this caller gets the task's output in pages."""
        return self._exceeds(task, caller, self.engine.settings.result_budget)

    def _exceeds(self, task: Task, caller: Caller, budget: int) -> bool:
        return not caller.is_bare and task.output is not None and len(_text(task)) > budget


class ReplyTool(Tool):
    """A tool whose function returns the `data` of a success, or raises a CallerError."""

    @classmethod
    def of(cls, function: Callable[..., Any], **kwargs: Any) -> Self:
        """A tool like the function, whose output schema is the envelope around what the function returns."""
        # The SDK would make a schema of the whole reply.
        tool = cls.from_function(function, description=_in_one_line(function), structured_output=False, **kwargs)
        assert isinstance(tool, cls)
        tool.parameters = _published(tool.parameters)
        schema = reply_schema(get_type_hints(function)["return"])
        tool.fn_metadata = tool.fn_metadata.model_copy(update={"output_schema": schema, "output_model": None})
        return tool

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        terse = not is_bare(context)
        try:
            return success(self.name, await self.fn(**self._bound(arguments, context)), terse=terse)
        except Answered as answered:
            return answered.result
        except CallerError as error:
            return error_reply(self.name, error, terse=terse)
        except Exception:
            return error_reply(self.name, Internal.logged(logger, f"tool {self.name}"), terse=terse)

    def _bound(self, arguments: dict[str, Any], context: Context[Any, Any]) -> dict[str, Any]:
        """The function's arguments.

        Raises:
            InvalidArgument: one has a wrong value, or a name that the tool does not know.
        """
        known = list(self.parameters["properties"])
        if unknown := [_unknown(name, value, known) for name, value in arguments.items() if name not in known]:
            raise _refused(unknown)
        try:
            bound = self.fn_metadata.validate_arguments(arguments)
        except ValidationError as error:
            raise _refused([explain(e) for e in error.errors(include_url=False)]) from None
        if self.context_kwarg is not None:
            bound[self.context_kwarg] = context
        return bound


def waited(caller: Caller, hold: Hold | None, *, goes_on: bool) -> wire.Waited | None:
    """The hold as an answer shows it; not to a client that names itself and need not wait, or waited as it asked to."""
    if hold is None or (not caller.is_bare and (hold.seconds == hold.asked or not goes_on)):
        return None
    return hold.as_wire()


def stream_url(template: str, task: Task, caller: Caller) -> str | None:
    """The address at which the caller can read the task's events; None if there is none.

    Args:
        template: a URL with `{operation_id}` in it. One that begins with a slash is a path of this
            server, which a caller over stdio or in memory cannot reach.
    """
    if template.startswith("/"):
        if caller.root is None:
            return None
        template = caller.root + template
    return template.format(operation_id=task.id)


def result_reader(engine: Engine) -> Any:
    """The function behind the resource that holds a whole result."""

    async def result(operation_id: str, ctx: Context) -> str:
        """The whole result of a completed task: its text, or its JSON."""
        try:
            task = await engine.get(operation_id, principal=Caller.of(ctx).principal)
        except NotFound as error:
            raise ResourceNotFoundError(error.message) from None
        if task.status is not Status.COMPLETED:
            raise ResourceError(f"The task is {task.status}; only a completed task has a result")
        return _text(task)

    return result


def _page(task: Task, offset: int, limit: int) -> tuple[str, wire.Page]:
    """The characters of the output from `offset` on, at most `limit`, and which they are."""
    text = _text(task)
    end = offset + limit
    return text[offset:end], wire.Page(
        offset=offset,
        total_characters=len(text),
        next_offset=end if end < len(text) else None,
        resource=RESULT_URI.format(operation_id=task.id),
    )


def _text(task: Task) -> str:
    return task.output if isinstance(task.output, str) else to_json_text(task.output)


def _coarse(fields: dict[str, Any]) -> dict[str, Any]:
    """A snapshot's fields in as many digits as a model needs: whole seconds, tenths of a percent."""
    for name in ("created_at", "started_at", "updated_at", "completed_at", "expires_at"):
        if (value := fields[name]) is not None:
            fields[name] = f"{value[:19]}Z"
    for name in ("elapsed_seconds", "estimated_remaining"):
        if fields[name]:
            fields[name] = round(fields[name])
    fields["progress"] = round(fields["progress"], 1)
    return fields


def _in_one_line(function: Callable[..., Any]) -> str:
    return " ".join((inspect.getdoc(function) or "").split())


def _published(parameters: dict[str, Any]) -> dict[str, Any]:
    """The input schema as a model should read it: without titles, and without null for what may be left out."""
    properties: dict[str, Any] = {}
    for name, field in parameters.get("properties", {}).items():
        options = [option for option in field.get("anyOf", ()) if option != {"type": "null"}]
        shape = {**field, **options[0]} if options else field
        properties[name] = {key: value for key, value in shape.items() if key not in ("title", "default", "anyOf")}
    required = {"required": parameters["required"]} if "required" in parameters else {}
    return {"type": "object", "properties": properties, **required}


def _unknown(name: str, value: object, known: list[str]) -> dict[str, Any]:
    return {
        "path": cut(name, 100),
        "message": f"There is no argument `{cut(name, 100)}`{did_you_mean(name, known)}",
        "expected": f"one of: {', '.join(known)}" if known else "no arguments",
        "got": shown(value),
    }


def _refused(errors: list[dict[str, Any]]) -> InvalidArgument:
    return InvalidArgument(f"Invalid arguments: {errors[0]['path']}: {errors[0]['message']}", errors=errors)
