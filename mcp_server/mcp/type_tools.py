"""A task type's own tool: made of its signature, and called by clients that do not follow tasks by themselves.

The task of such a call runs as every other; the call is held as long as suits the caller,
and answers with the result if it came in time, else with a handle and the one call to make
next. A modern client without a session can be asked a running task's questions too: they
are the answer to its call, and the repeated call finds the task again.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from itertools import count
from typing import Annotated, Any, get_type_hints

from mcp.server.context import ServerRequestContext
from mcp.server.extension import ToolBinding
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolRequestParams, CallToolResult, Icon, InputRequiredResult, ToolAnnotations
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from client_sdk import wire

from ..access.principal import ANONYMOUS
from ..engine import Engine
from ..errors import NotFound, TryLater
from ..jsonable import to_jsonable
from ..registry import TaskType
from ..task import Task
from .caller import Caller, missing_capability
from .reply import TaskReplies
from .results import output_schema, protocol_error, success, tool_result
from .rounds import ask, running_task
from .wait import Hold

__all__ = ["TypeToolCalls", "task_tool"]


Request = ServerRequestContext[Any, Any]


class TypeToolCalls:
    """Holds calls of task tools and answers them, for one engine.

    Args:
        handles: whether a call may be answered with a handle: the server has the tools to
            come back with. Without them a call is held until the task is over.
    """

    def __init__(self, replies: TaskReplies, *, handles: bool) -> None:
        self._engine, self._waiter, self._replies = replies.engine, replies.waiter, replies
        self._handles = handles

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

    async def finish_call(
        self, task: Task, task_type: TaskType, caller: Caller, ctx: Request
    ) -> CallToolResult | InputRequiredResult:
        """Wait for the task and answer the call."""
        hold = self._decide(task_type, caller, ctx)
        try:
            task = await self._waiter.wait(ctx, task, hold)
        except TryLater as error:
            # The task is safe; without its id the caller could not find it again.
            error.details.update(operation_id=task.id)
            raise
        in_pages = self._handles and self._replies.is_paged(task, caller)
        if task.is_over and not in_pages:
            if (raised := protocol_error(task)) is not None:
                raise raised
            return tool_result(task, task_type.output_schema, terse=not caller.is_bare)
        if task.input_requests and caller.modern and caller.answers_forms and hold.seconds > 0:
            return ask(task.input_requests, operation_id=task.id)
        if not self._handles:
            # No other caller knows its id, so none can answer it either.
            await self._engine.cancel(task.id, "The caller cannot be asked", principal=caller.principal)
            raise missing_capability("a way to ask the user", {"elicitation": {}})
        return success(task_type.name, await self._replies.started(task, caller, hold), terse=not caller.is_bare)

    def _decide(self, task_type: TaskType, caller: Caller, ctx: Request) -> Hold:
        if task_type.policy.mode == "never":
            return Hold(seconds=math.inf, reason="this tool always answers with its result")
        if not self._handles:
            return Hold(seconds=math.inf, reason="there is no other way to the result")
        asked = (ctx.meta or {}).get(wire.WAIT_META_KEY)
        seconds = float(asked) if isinstance(asked, int | float) else None
        return self._waiter.decide(caller, seconds, "follow")


def task_tool(engine: Engine, task_type: TaskType) -> ToolBinding:
    """The tool of a task type, in the form `Extension.tools` returns.

    The SDK makes a tool from a function's signature, so its function has the signature of the
    task type's. Calls over MCP never reach the body: the extension answers them before. The body
    serves `MCPServer.call_tool`, by which a program calls its own server for a result.
    """
    said = task_type.tool
    annotations = said.get("annotations") or ToolAnnotations(read_only_hint=False, open_world_hint=True)
    return ToolBinding(
        fn=_function(engine, task_type),
        kwargs={
            "name": task_type.name,
            "title": said.get("title"),
            "description": task_type.description,
            "annotations": ToolAnnotations.model_validate(annotations),
            "icons": [Icon.model_validate(icon) for icon in said.get("icons") or ()] or None,
        },
        meta=None if said.get("meta") is None else dict(said["meta"]),
    )


def _function(engine: Engine, task_type: TaskType) -> Callable[..., Any]:
    # The SDK finds its context by annotation, so any name will do that is not the name of an argument.
    context = next(name for n in count() if not task_type.accepts(name := f"mcp_context{n or ''}"))

    async def call(**arguments: Any) -> CallToolResult:
        arguments.pop(context, None)
        given = to_jsonable(arguments, "arguments", engine.settings.max_argument_bytes)
        task = await engine.wait(await engine.start(task_type.name, given, principal=ANONYMOUS), math.inf)
        if (error := protocol_error(task)) is not None:
            raise error
        return tool_result(task, task_type.output_schema, terse=False)

    hints = get_type_hints(task_type.function, include_extras=True)
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(task_type.function).parameters.items()
        if task_type.accepts(name)
    ]
    parameters.append(inspect.Parameter(context, inspect.Parameter.KEYWORD_ONLY, annotation=Context, default=None))
    returns = _returns(task_type)
    call.__name__ = task_type.name
    call.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": returns}
    return call


def _returns(task_type: TaskType) -> Any:
    """A return annotation from which the SDK reads our output schema; the model itself accepts any object."""
    if (schema := output_schema(task_type.output_schema)) is None:
        return CallToolResult
    published = schema

    class Output(BaseModel):
        model_config = ConfigDict(extra="allow")

        @classmethod
        def __get_pydantic_json_schema__(cls, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
            return published

    return Annotated[CallToolResult, Output]
