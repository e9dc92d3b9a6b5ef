"""A task type as an MCP tool of its own name.

The SDK makes a tool from a function's signature, so this file makes a function whose
signature is the task type's. Calls over MCP never reach its body: the extension answers
them before (`extension.py`). The body serves `MCPServer.call_tool`, by which a program
calls its own server, and that means: run it and give me the result.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

from mcp.server.extension import ToolBinding
from mcp.server.mcpserver.context import Context
from mcp_types import CallToolResult, ToolAnnotations
from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic_core import CoreSchema

from ..access.principal import ANONYMOUS
from ..engine import Engine
from ..jsonable import clean
from ..registry import TaskType
from .results import output_schema, protocol_error, tool_result

__all__ = ["task_tool"]

CONTEXT = "mcp_context"


def task_tool(engine: Engine, task_type: TaskType) -> ToolBinding:
    """The tool of a task type, in the form `Extension.tools` returns."""
    return ToolBinding(
        fn=_function(engine, task_type),
        kwargs={
            "name": task_type.name,
            "description": task_type.description,
            "annotations": ToolAnnotations(read_only_hint=False, open_world_hint=True),
        },
    )


def _function(engine: Engine, task_type: TaskType) -> Callable[..., Any]:
    async def call(**arguments: Any) -> CallToolResult:
        arguments.pop(CONTEXT, None)
        given = clean(arguments, "arguments", engine.settings.max_argument_bytes)
        task = await engine.wait(await engine.start(task_type.name, given, principal=ANONYMOUS), math.inf)
        if (error := protocol_error(task)) is not None:
            raise error
        return tool_result(task, task_type.output_schema)

    hints = get_type_hints(task_type.function, include_extras=True)
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints.get(name, Any))
        for name, parameter in inspect.signature(task_type.function).parameters.items()
        if task_type.accepts(name)
    ]
    parameters.append(inspect.Parameter(CONTEXT, inspect.Parameter.KEYWORD_ONLY, annotation=Context, default=None))
    returns = _returns(task_type)
    call.__name__ = task_type.name
    call.__signature__ = inspect.Signature(parameters, return_annotation=returns)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in parameters} | {"return": returns}
    return call


def _returns(task_type: TaskType) -> Any:
    """A return annotation from which the SDK reads our output schema; it lets every object pass."""
    if (schema := output_schema(task_type.output_schema)) is None:
        return CallToolResult
    published = schema

    class Output(BaseModel):
        model_config = ConfigDict(extra="allow")

        @classmethod
        def __get_pydantic_json_schema__(cls, _: CoreSchema, __: GetJsonSchemaHandler) -> dict[str, Any]:
            return published

    return Annotated[CallToolResult, Output]
