"""Makes what authors return and emit JSON-clean, or says why it cannot be.

Datetimes, Decimal, UUID, bytes (standard base64), sets, dataclasses, pydantic models,
NaN and infinities (null), numpy scalars and arrays. One place decides, for results,
events, checkpoints and metadata alike.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, from_json, to_json, to_jsonable_python

from .errors import TaskError

__all__ = ["clean", "storable", "to_text"]


def clean(value: Any, what: str, max_bytes: int) -> Any:
    """`value` as plain JSON data.

    Raises:
        TaskError: `NOT_JSON` when it holds something that has no JSON form, `TOO_LARGE`
            when its JSON is longer than `max_bytes`. `what` names it in the message.
    """
    try:
        try:
            text = json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError):
            # NaN, or keys that are no strings: rare, so only then is everything walked in Python.
            text = json.dumps(_rebuilt(value), allow_nan=False, separators=(",", ":"))
        plain = from_json(text)
    except (TypeError, ValueError, RecursionError, PydanticSerializationError) as error:
        raise TaskError(f"The {what} cannot be written as JSON: {error}", code="NOT_JSON", retry=False) from None
    if len(text) > max_bytes:
        raise TaskError(
            f"The {what} is {len(text)} bytes as JSON; at most {max_bytes} are kept",
            code="TOO_LARGE",
            details={"bytes": len(text), "max_bytes": max_bytes},
            retry=False,
        )
    return plain


def storable(value: object) -> str:
    """A short text for people (a message, a name) out of whatever was given, without what UTF-8 cannot hold."""
    return str(value).encode("utf-8", "replace").decode()


def to_text(value: Any) -> str:
    """JSON-clean data as one line of compact JSON."""
    return to_json(value, inf_nan_mode="null").decode()


def _plain(value: Any) -> Any:
    """One level of what `json` does not know, as something it may know."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, set | frozenset):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    # numpy is not a dependency; its scalars and arrays, and those of its relatives, all have `tolist`.
    if callable(tolist := getattr(value, "tolist", None)):
        return tolist()
    return to_jsonable_python(value)


def _rebuilt(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key if isinstance(key, str) else _key(key): _rebuilt(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rebuilt(item) for item in value]
    return _rebuilt(_plain(value))


def _key(key: Any) -> str:
    plain = to_jsonable_python(key)
    return plain if isinstance(plain, str) else json.dumps(plain)
