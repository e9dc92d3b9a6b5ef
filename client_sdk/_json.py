"""Arguments of tools as JSON: datetimes and other values that have a JSON form get it, all else is an error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticSerializationError, to_jsonable_python

from .errors import Refused, cut

__all__ = ["body_of_call"]


def body_of_call(number: int, tool: str, arguments: Mapping[str, Any], operation_id: str | None) -> bytes:
    """The JSON-RPC request that calls a tool; arguments that are None are left out.

    Raises:
        Refused: `INVALID_ARGUMENT`, one has no form in JSON; the message and `details.errors` name it.
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    try:
        return _request(number, tool, given)
    except (TypeError, ValueError, RecursionError):
        # The usual case pays for one pass only; the place of a fault is looked for when there is one.
        return _request(number, tool, {name: _sendable(value, name, operation_id) for name, value in given.items()})


def _request(number: int, tool: str, arguments: Mapping[str, Any]) -> bytes:
    params = {"name": tool, "arguments": arguments}
    request = {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}
    return json.dumps(request, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()


def _sendable(value: Any, path: str, operation_id: str | None) -> Any:
    try:
        if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
            return {name: _sendable(each, f"{path}.{name}", operation_id) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return [_sendable(each, f"{path}[{place}]", operation_id) for place, each in enumerate(value)]
        clean = to_jsonable_python(value)
        json.dumps(clean, allow_nan=False, ensure_ascii=False).encode()
    except Refused:
        raise
    except (PydanticSerializationError, TypeError, ValueError, RecursionError):
        got = cut(ascii(value), 80)
        message = f"{cut(path, 200)} cannot be sent as JSON: {got}"
        errors = [{"path": path, "message": "has no form in JSON", "expected": "a value with a JSON form", "got": got}]
        raise Refused(
            message, operation_id=operation_id, error_code="INVALID_ARGUMENT", details={"errors": errors}
        ) from None
    return clean
