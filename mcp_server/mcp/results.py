"""Results of tool calls: our envelope, and the result of a task as its own tool's call would have had it.

Text for people and models; structured content that matches the declared output schema.
The failure of a task is our error envelope, except for an error of the protocol itself
that its author raised, which stays one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolResult, TextContent
from pydantic import BaseModel

from client_sdk import wire

from ..errors import PROTOCOL_ERROR, CallerError, TaskFailed, TaskStopped
from ..jsonable import to_json_text
from ..task import Status, Task
from .advice import next_after_error, next_step

__all__ = [
    "Answered",
    "error_reply",
    "output_schema",
    "protocol_error",
    "success",
    "task_error",
    "tool_result",
]


class Answered(Exception):
    """Carries a finished result out of a tool method that is no plain success."""

    def __init__(self, result: CallToolResult) -> None:
        super().__init__()
        self.result = result


def success(action: str, data: BaseModel) -> CallToolResult:
    # The fields of a failure are not part of a success.
    return _envelope(
        {"status": "success", "action": action, "data": data.model_dump(mode="json"), "timestamp": _now()},
        is_error=False,
    )


def error_reply(
    action: str, error: CallerError, *, data: dict[str, Any] | None = None, is_error: bool = True
) -> CallToolResult:
    advice = error.details.get("next") or next_after_error(error)
    return _envelope(
        {
            "status": "error",
            "action": action,
            "error": error.message,
            "error_code": error.code,
            "details": {**error.details, "next": advice} if advice else error.details,
            "data": data,
            "timestamp": _now(),
        },
        is_error=is_error,
    )


def _envelope(reply: dict[str, Any], *, is_error: bool) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=to_json_text(reply))], structured_content=reply, is_error=is_error
    )


def _now() -> str:
    return wire.timestamp(time.time())


def tool_result(task: Task, schema: Mapping[str, Any] | None) -> CallToolResult:
    """The result of a task that is over.

    Args:
        schema: what its type says it returns.
    """
    if task.status is Status.COMPLETED:
        text = task.output if isinstance(task.output, str) else to_json_text(task.output)
        structured = {"result": task.output} if _wraps(schema, task.output) else task.output
        return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured)
    return error_reply(task.type, task_error(task))


def task_error(task: Task) -> CallerError:
    """What to tell a caller who asked for the result of a failed or cancelled task."""
    advice = next_step(task)
    if task.status is Status.FAILED:
        assert task.error is not None
        error = task.error
        return TaskFailed(
            error["message"],
            operation_id=task.id,
            error_code=error["error_code"],
            details=error["details"],
            timestamp=wire.timestamp(error["at"]),
            next=advice,
        )
    return TaskStopped("The task was cancelled", operation_id=task.id, reason=task.reason, next=advice)


def protocol_error(task: Task) -> MCPError | None:
    """The JSON-RPC error the function raised; None if the task did not end with one."""
    if task.error is None or task.error["error_code"] != PROTOCOL_ERROR:
        return None
    details = task.error["details"]
    return MCPError(int(details.get("code", INTERNAL_ERROR)), task.error["message"], details.get("data"))


def _wraps(schema: Mapping[str, Any] | None, output: Any) -> bool:
    """Whether structured content holds the output under `result`, as it has to be an object."""
    return not isinstance(output, dict) if schema is None else not _is_object(schema)


def _is_object(schema: Mapping[str, Any]) -> bool:
    if "$ref" in schema:
        schema = schema.get("$defs", {}).get(str(schema["$ref"]).removeprefix("#/$defs/"), {})
    return schema.get("type") == "object"


def output_schema(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The output schema of a task type's tool: its result, or our envelope when there is none yet."""
    if schema is None:
        return None
    result = _inlined(schema, schema.get("$defs", {}), frozenset())
    if not _is_object(schema):
        result = {"type": "object", "properties": {"result": result}, "required": ["result"]}
    return {"type": "object", "anyOf": [result, _ENVELOPE]}


def _inlined(schema: Any, definitions: Mapping[str, Any], within: frozenset[str]) -> Any:
    """The schema without references, which cannot be nested in another one; what contains itself is left open."""
    if isinstance(schema, list):
        return [_inlined(item, definitions, within) for item in schema]
    if not isinstance(schema, dict):
        return schema
    rest = {k: _inlined(v, definitions, within) for k, v in schema.items() if k not in ("$defs", "$ref")}
    if "$ref" not in schema:
        return rest
    name = str(schema["$ref"]).removeprefix("#/$defs/")
    return rest if name in within else {**_inlined(definitions.get(name, {}), definitions, within | {name}), **rest}


_ENVELOPE: dict[str, Any] = {
    "type": "object",
    "description": "Instead of the result: a handle to follow the task with, or why it failed",
    "properties": {
        "status": {"enum": ["success", "error"]},
        "action": {"type": "string"},
        "data": {
            "type": ["object", "null"],
            "properties": {"operation_id": {"type": "string"}, "next": {"type": ["string", "null"]}},
        },
        "timestamp": {"type": "string"},
    },
    "required": ["status", "action", "data", "timestamp"],
}
