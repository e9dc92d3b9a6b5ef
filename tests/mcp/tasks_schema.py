"""The shapes of the tasks extension as JSON Schema, closed: what the specification does not name is an error.

Written from the specification's text. Stricter than its own schema, which lets unknown
fields pass; here only `_meta` may hold more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["CREATED", "DETAILED", "PUSHED", "valid"]

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


_CHOICE = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("title", "description")},
        "type": {"const": "string"},
        "enum": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["type", "enum"],
}

_FIELD = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("title", "description", "format")},
        **{name: {"type": "integer"} for name in ("minLength", "maxLength", "minItems", "maxItems")},
        **{name: {"type": "number"} for name in ("minimum", "maximum")},
        "type": {"enum": ["string", "integer", "number", "boolean", "array"]},
        "enum": {"type": "array", "items": {"type": "string"}},
        "items": _CHOICE,
        "default": {"type": ["string", "number", "boolean", "array"]},
    },
    "required": ["type"],
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
                    "properties": {
                        **{name: {"type": "string"} for name in ("$schema", "title", "description")},
                        "type": {"const": "object"},
                        "properties": {"type": "object", "additionalProperties": _FIELD},
                        "required": {"type": "array", "items": {"type": "string"}},
                    },
                    "required": ["type", "properties"],
                    "additionalProperties": False,
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

PUSHED: dict[str, Any] = {
    "oneOf": [
        _variant("working"),
        _variant("input_required", inputRequests=_QUESTIONS),
        _variant("completed", result=_TOOL_RESULT),
        _variant("failed", error=_ERROR),
        _variant("cancelled"),
    ]
}
"""What `notifications/tasks` carries."""

DETAILED: dict[str, Any] = {"allOf": [PUSHED, {"required": ["resultType"]}]}
"""What `tasks/get` answers: the same as a result."""

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
