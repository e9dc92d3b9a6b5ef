"""Questions and answers: the one place that knows their form.

A question is an MCP elicitation request, whose schema is an object of flat fields; a
response is an elicitation result. Whatever way an answer comes, it is checked here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from .errors import InvalidArgument, cut, shown

__all__ = ["ACTIONS", "check_response", "elicitation", "first_question"]

ACTIONS = ("accept", "decline", "cancel")


def elicitation(message: str, schema: type[BaseModel] | Mapping[str, Any] | None) -> dict[str, Any]:
    """A question in the form MCP gives it: an `elicitation/create` request.

    MCP knows neither references nor null in it: an enum stands in its field, and a field that
    may be null is one that may be left out. Clients refuse anything else.
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
    """The key and the text of the question that was asked first."""
    key = next(iter(requests))
    return key, str(requests[key].get("params", {}).get("message", ""))


def check_response(key: str, request: Mapping[str, Any], response: Any) -> None:
    """Let an answer pass that the question allows.

    Raises:
        InvalidArgument: it is no elicitation result, or its content does not fit the question's schema.
    """
    errors = list(_misfits(f"responses.{key}", request, response))
    if errors:
        first = errors[0]
        raise InvalidArgument(f"{first['path']}: {first['message']}", errors=errors)


def _misfits(path: str, request: Mapping[str, Any], response: Any) -> Iterator[dict[str, Any]]:
    # Here, since the process of a task imports this module for its questions and never gets as far.
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
            return  # the author's mistake, not the answerer's
        content = response.get("content")
        for error in Draft202012Validator(schema).iter_errors({} if content is None else content):
            where = ".".join((path, "content", *map(str, error.path)))
            yield _error(where, error.message, f"{error.validator} {error.validator_value}", error.instance)


def _error(path: str, message: str, expected: str, got: Any) -> dict[str, Any]:
    return {"path": path, "message": cut(message, 200), "expected": cut(expected, 200), "got": shown(got, 200)}
