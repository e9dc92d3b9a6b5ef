"""Results of tool calls: our envelope, and the result of a task as its own tool's call would have had it.

Text for people and models; structured content that matches the declared output schema.
The failure of a task is our error envelope, except for an error of the protocol itself
that its author raised, which stays one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, CallToolResult, TextContent
from pydantic import BaseModel

from client_sdk import wire

from ..errors import PROTOCOL_ERROR, CallerError
from ..jsonable import to_json_text
from ..task import Status, Task
from ..views import no_result
from .advice import next_after_error, next_step

__all__ = [
    "Answered",
    "error_reply",
    "output_schema",
    "protocol_error",
    "reply_schema",
    "success",
    "task_error",
    "tool_result",
]


class Answered(Exception):
    """Carries a finished result out of a tool method that is no plain success."""

    def __init__(self, result: CallToolResult) -> None:
        super().__init__()
        self.result = result


def success(action: str, data: BaseModel, *, terse: bool) -> CallToolResult:
    """The envelope of a success; terse for callers that name themselves: without the fields that say nothing."""
    # The fields of a failure are not part of a success.
    return _envelope(
        {"status": "success", "action": action, "data": _dumped(data, terse), "timestamp": _now()}, is_error=False
    )


def error_reply(
    action: str, error: CallerError, *, terse: bool, data: BaseModel | None = None, is_error: bool = True
) -> CallToolResult:
    """The envelope of a failure; terse as that of a success."""
    advice = error.details.get("next") or next_after_error(error)
    reply = {
        "status": "error",
        "action": action,
        "error": error.message,
        "error_code": error.code,
        "details": {**error.details, "next": advice} if advice else error.details,
        "data": None if data is None else _dumped(data, terse),
        "timestamp": _now(),
    }
    if terse:
        reply = {name: value for name, value in reply.items() if value not in (None, {})}
    return _envelope(reply, is_error=is_error)


def _dumped(data: BaseModel, terse: bool) -> dict[str, Any]:
    return data.model_dump(mode="json", exclude_defaults=terse)


def _envelope(reply: dict[str, Any], *, is_error: bool) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=to_json_text(reply))], structured_content=reply, is_error=is_error
    )


def _now() -> str:
    return wire.timestamp(time.time())


def tool_result(task: Task, schema: Mapping[str, Any] | None, *, terse: bool) -> CallToolResult:
    """The result of a task that has ended.

    Args:
        schema: what its type says it returns.
        terse: as for `error_reply`.
    """
    if task.status is Status.COMPLETED:
        text = task.output if isinstance(task.output, str) else to_json_text(task.output)
        structured = {"result": task.output} if _wraps(schema, task.output) else task.output
        return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=structured)
    return error_reply(task.type, task_error(task), terse=terse)


def task_error(task: Task) -> CallerError:
    """The error for a caller who asked for the result of a failed or cancelled task."""
    return no_result(task, next=next_step(task))


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


def reply_schema(data: Any) -> dict[str, Any]:
    """The output schema of a tool of ours: the envelope, and the types of those fields of its data that are never null.

    Short, because hosts put the schemas of all tools before a model; `docs/protocol.md` has every field.

    Args:
        data: a model of `client_sdk.wire`, or a union of them.
    """
    models = get_args(data) or (data,)
    fields = {name: _brief(field.annotation) for model in models for name, field in model.model_fields.items()}
    return {
        "type": "object",
        "properties": {
            "data": {
                "type": ["object", "null"],
                "properties": {name: field for name, field in fields.items() if field is not None},
                "required": [name for name in fields if all(_is_required(model, name) for model in models)],
            }
        },
        "required": ["status", "action", "timestamp"],
    }


def _is_required(model: type[BaseModel], name: str) -> bool:
    return name in model.model_fields and model.model_fields[name].is_required()


_JSON_TYPES: Mapping[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
    BaseModel: "object",
}


def _brief(annotation: Any) -> dict[str, Any] | None:
    """The type of a field and, in an array, of the items; None if it may be null.

    Of the annotation: a JSON Schema of each model would take a tenth of the time in which a server starts.
    """
    if type(None) in get_args(annotation):
        return None
    of = get_origin(annotation) or annotation
    name = next((name for kind, name in _JSON_TYPES.items() if isinstance(of, type) and issubclass(of, kind)), None)
    found = {} if name is None else {"type": name}
    return {**found, "items": _brief(get_args(annotation)[0])} if name == "array" else found


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
    "required": ["status", "action", "timestamp"],
}
