"""Whether an answer fits its question: the one check behind every way to answer.

A question is an MCP elicitation request, whose schema is an object of flat fields; a
response is an elicitation result. Only what MCP allows in such a schema is checked
(type, enum, bounds, required); a field the schema does not name is let through, and so
is everything of a keyword this file does not know. Standard library only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .errors import InvalidArgument

__all__ = ["ACTIONS", "check_response", "first_question"]

ACTIONS = ("accept", "decline", "cancel")

_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


_BOUNDS: Mapping[str, Callable[[Any], float]] = {
    "minimum": lambda value: value,
    "maximum": lambda value: value,
    "minLength": len,
    "maxLength": len,
    "minItems": len,
    "maxItems": len,
}


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
        raise InvalidArgument(f"{first['path']} {first['message']}, got {first['got']}", errors=errors)


def _misfits(path: str, request: Mapping[str, Any], response: Any) -> Iterator[dict[str, Any]]:
    if not isinstance(response, Mapping):
        yield _error(path, "must be an object with `action`", "object", response)
        return
    if response.get("action") not in ACTIONS:
        yield _error(f"{path}.action", "must be accept, decline or cancel", " | ".join(ACTIONS), response.get("action"))
        return
    if response["action"] != "accept":
        return
    schema = request.get("params", {}).get("requestedSchema", {})
    content = response.get("content", {})
    if content is None:
        content = {}
    if not isinstance(content, Mapping):
        yield _error(f"{path}.content", "must be an object", "object", content)
        return
    for name in schema.get("required", ()):
        if name not in content:
            yield _error(f"{path}.content.{name}", "is missing", "a value", None)
    for name, wanted in schema.get("properties", {}).items():
        if name in content:
            yield from _field_misfits(f"{path}.content.{name}", wanted, content[name])


def _field_misfits(path: str, schema: Mapping[str, Any], value: Any) -> Iterator[dict[str, Any]]:
    kind = schema.get("type")
    if not isinstance(kind, str):
        return
    if not _is_a(kind, value):
        yield _error(path, f"must be of type {kind}", kind, value)
        return
    allowed = schema.get("enum") or [option["const"] for option in schema.get("oneOf", ()) if "const" in option]
    if allowed and value not in allowed:
        yield _error(path, "is not one of the choices", " | ".join(map(str, allowed)), value)
    for keyword, measure in _BOUNDS.items():
        if (bound := schema.get(keyword)) is None:
            continue
        size = measure(value)
        if size < bound if keyword.startswith("min") else size > bound:
            yield _error(path, f"does not keep {keyword} {bound}", f"{keyword} {bound}", value)


def _is_a(kind: str, value: Any) -> bool:
    if isinstance(value, bool) and kind != "boolean":
        return False
    if kind == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, (object,)))


def _error(path: str, message: str, expected: str, got: Any) -> dict[str, Any]:
    shown = "nothing" if got is None else repr(got)
    return {
        "path": path,
        "message": message,
        "expected": expected,
        "got": shown if len(shown) <= 100 else shown[:97] + "...",
    }
