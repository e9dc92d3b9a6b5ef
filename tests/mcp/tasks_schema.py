"""The shapes of the tasks extension as JSON Schema, closed: what the specification does not name is an error.

Written from the specification's text. Stricter than its own schema, which lets unknown
fields pass; here only `_meta` may hold more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["CREATED", "DETAILED", "valid"]

_INTEGER = {"type": "integer", "exclusiveMinimum": 0, "maximum": 2**53 - 1}
_TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}

_TASK: dict[str, Any] = {
    "taskId": {"type": "string", "minLength": 16},
    "statusMessage": {"type": "string", "minLength": 1},
    "createdAt": _TIME,
    "lastUpdatedAt": _TIME,
    "ttlMs": {"anyOf": [{"type": "null"}, _INTEGER]},
    "pollIntervalMs": _INTEGER,
    "_meta": {"type": "object"},
}
_REQUIRED = ["taskId", "status", "createdAt", "lastUpdatedAt", "ttlMs"]


def _variant(status: str, **own: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {**_TASK, "resultType": {"const": "complete"}, "status": {"const": status}, **own},
        "required": [*_REQUIRED, *own],
        "additionalProperties": False,
    }


_QUESTION = {
    "type": "object",
    "properties": {
        "method": {"const": "elicitation/create"},
        "params": {
            "type": "object",
            "properties": {
                "mode": {"const": "form"},
                "message": {"type": "string"},
                "requestedSchema": {
                    "type": "object",
                    "properties": {"type": {"const": "object"}, "properties": {"type": "object"}},
                    "required": ["type", "properties"],
                },
            },
            "required": ["message", "requestedSchema"],
        },
    },
    "required": ["method", "params"],
    "additionalProperties": False,
}

_QUESTIONS = {"type": "object", "minProperties": 1, "additionalProperties": _QUESTION}

_TOOL_RESULT = {
    "type": "object",
    "properties": {
        "content": {"type": "array", "items": {"type": "object", "required": ["type"]}},
        "structuredContent": {},
        "isError": {"type": "boolean"},
        "resultType": {"const": "complete"},
    },
    "required": ["content", "isError"],
    "additionalProperties": False,
}

_ERROR = {
    "type": "object",
    "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {}},
    "required": ["code", "message"],
    "additionalProperties": False,
}

DETAILED: dict[str, Any] = {
    "oneOf": [
        _variant("working"),
        _variant("input_required", inputRequests=_QUESTIONS),
        _variant("completed", result=_TOOL_RESULT),
        _variant("failed", error=_ERROR),
        _variant("cancelled"),
    ]
}
"""What `tasks/get` answers and `notifications/tasks` carries."""

CREATED: dict[str, Any] = {
    "type": "object",
    "properties": {
        **_TASK,
        "resultType": {"const": "task"},
        "status": {"enum": ["working", "input_required", "completed", "failed", "cancelled"]},
    },
    "required": ["resultType", *_REQUIRED],
    "additionalProperties": False,
}
"""The answer to a call that became a task."""


def valid(value: Mapping[str, Any], schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The value, if it has the shape."""
    Draft202012Validator(schema).validate(dict(value))
    return value
