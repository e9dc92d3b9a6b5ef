"""The form of questions and answers.

A question is an MCP elicitation request, whose schema is an object of flat fields; a
response is an elicitation result. Answers of every transport are checked here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from .errors import InvalidArgument, cut, shown

__all__ = ["ACTIONS", "as_response", "check_key", "check_response", "elicitation", "first_question", "numbered_key"]

ACTIONS = ("accept", "decline", "cancel")


def numbered_key(number: int) -> str:
    """The key of a question that was asked without one."""
    return f"q{number}"


def check_key(key: str) -> None:
    """Raise ValueError if an author's own key has the form of `numbered_key`, so that the two never meet."""
    if re.fullmatch(r"q\d+", key):
        raise ValueError(f"The key {key!r} is kept for questions that are asked without a key; choose another")


def elicitation(message: str, schema: type[BaseModel] | Mapping[str, Any] | None) -> dict[str, Any]:
    """A question as an `elicitation/create` request of MCP.

    MCP allows neither references nor null in its schema, and clients refuse them: an enum is
    written out in its field, and a field that may be null becomes one that may be left out.
    """
    if schema is None:
        requested: dict[str, Any] = {"type": "object", "properties": {}}
    elif isinstance(schema, type):
        requested = _flattened(schema.model_json_schema())
    else:
        requested = _flattened(schema)
    return {
        "method": "elicitation/create",
        "params": {"mode": "form", "message": message, "requestedSchema": requested},
    }


def _flattened(schema: Mapping[str, Any]) -> dict[str, Any]:
    flat = {name: value for name, value in schema.items() if name != "$defs"}
    if isinstance(fields := schema.get("properties"), Mapping):
        flat["properties"] = {name: _flat_field(field, schema.get("$defs", {})) for name, field in fields.items()}
    return flat


def _flat_field(field: Any, definitions: Mapping[str, Any]) -> Any:
    if not isinstance(field, Mapping):
        return field
    flat = dict(field)
    choices = [choice for choice in flat.get("anyOf", ()) if choice != {"type": "null"}]
    if len(choices) == 1:
        flat = {**choices[0], **{name: value for name, value in flat.items() if name != "anyOf"}}
        if flat.get("default", ...) is None:
            del flat["default"]
    if "$ref" in flat:
        found = definitions.get(str(flat.pop("$ref")).removeprefix("#/$defs/"), {})
        flat = {**found, **flat}
    if "items" in flat:
        flat["items"] = _flat_field(flat["items"], definitions)
    return flat


def first_question(requests: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """The key and the message of the oldest question."""
    key = next(iter(requests))
    return key, str(requests[key].get("params", {}).get("message", ""))


def as_response(request: Mapping[str, Any], given: Any) -> Any:
    """The elicitation result that is meant by an answer: the bare value, the fields, or the whole result."""
    if isinstance(given, Mapping) and given.get("action") in ACTIONS:
        return given
    fields = list(request.get("params", {}).get("requestedSchema", {}).get("properties", {}))
    if given in ("decline", "cancel") or (given == "accept" and not fields):
        return {"action": given}
    if not isinstance(given, Mapping):
        if len(fields) != 1:
            return given
        given = {fields[0]: given}
    return {"action": "accept", "content": given}


def check_response(key: str, request: Mapping[str, Any], response: Any) -> None:
    """Raise unless the response fits its question.

    Raises:
        InvalidArgument: the response is no elicitation result, or its content does not fit the schema.
    """
    errors = list(_misfits(f"responses.{key}", request, response))
    if errors:
        first = errors[0]
        raise InvalidArgument(f"{first['path']}: {first['message']}", errors=errors)


def _misfits(path: str, request: Mapping[str, Any], response: Any) -> Iterator[dict[str, Any]]:
    # Imported late: the process of a task needs this module for its questions and never checks an answer.
    from jsonschema import Draft202012Validator, SchemaError

    if not isinstance(response, Mapping):
        yield _error(path, "must be an object with `action`", "object", response)
    elif response.get("action") not in ACTIONS:
        yield _error(f"{path}.action", "must be accept, decline or cancel", " | ".join(ACTIONS), response.get("action"))
    elif response["action"] == "accept":
        schema = request.get("params", {}).get("requestedSchema", {})
        try:
            Draft202012Validator.check_schema(schema)
        except SchemaError:
            return  # a mistake of the author, which no answer can mend
        content = response.get("content")
        for error in Draft202012Validator(schema).iter_errors({} if content is None else content):
            where = ".".join((path, "content", *map(str, error.path)))
            yield _error(where, error.message, f"{error.validator} {error.validator_value}", error.instance)


def _error(path: str, message: str, expected: str, got: Any) -> dict[str, Any]:
    return {"path": path, "message": cut(message, 200), "expected": cut(expected, 200), "got": shown(got, 200)}
