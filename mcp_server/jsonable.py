"""The JSON form of any Python value: of results, events, checkpoints and metadata alike.

Datetimes, Decimal, UUID, bytes (standard base64), sets, dataclasses, pydantic models,
NaN and infinities (null), numpy scalars and arrays have one; a value without is an error.
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

from .errors import InvalidArgument, TaskError, cut

__all__ = [
    "argument_to_jsonable",
    "bounded_text",
    "check_text",
    "to_json_bytes",
    "to_json_text",
    "to_jsonable",
    "to_jsonable_sized",
    "unicode_text",
]


_PARSER_REASONS = {
    "recursion limit exceeded": "it is nested too deeply",
    # Half of a surrogate pair, which no Unicode text has.
    "unexpected end of hex escape": "it holds text that is no Unicode",
    "lone leading surrogate in hex escape": "it holds text that is no Unicode",
}


def to_jsonable(value: Any, what: str, max_bytes: int) -> Any:
    """`value` as plain JSON data.

    Raises:
        TaskError: `NOT_JSON` when it holds something that has no JSON form, `TOO_LARGE`
            when its JSON is longer than `max_bytes`. `what` names it in the message.
    """
    return to_jsonable_sized(value, what, max_bytes)[0]


def to_jsonable_sized(value: Any, what: str, max_bytes: int) -> tuple[Any, int]:
    """As `to_jsonable`, with the length of the JSON."""
    try:
        try:
            written = json.dumps(value, default=_plain, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError):
            # NaN, or keys that are no strings: rare, so only then is everything walked in Python.
            written = json.dumps(_rebuilt(value), allow_nan=False, separators=(",", ":"))
        plain = from_json(written)
    except RecursionError:
        raise _not_json(what, "it is nested too deeply") from None
    except (TypeError, ValueError, PydanticSerializationError) as error:
        raise _not_json(what, _PARSER_REASONS.get(str(error).partition(" at line")[0], str(error))) from None
    if len(written) > max_bytes:
        raise _too_large(what, len(written), "bytes as JSON", max_bytes)
    return plain, len(written)


def bounded_text(value: object, what: str, max_bytes: int) -> str:
    """A text for people (a message, a name), without what UTF-8 cannot hold.

    Raises:
        TaskError: `TOO_LARGE`.
    """
    found = unicode_text(value)
    if len(found) > max_bytes:
        raise _too_large(what, len(found), "characters long", max_bytes)
    return found


def unicode_text(value: object, max_chars: int | None = None) -> str:
    """As `bounded_text`, but cut to `max_chars` characters."""
    found = str(value).encode("utf-8", "replace").decode()
    return found if max_chars is None else cut(found, max_chars)


def _not_json(what: str, reason: str) -> TaskError:
    return TaskError(f"The {what} cannot be written as JSON: {reason}", code="NOT_JSON", retry=False)


def _too_large(what: str, size: int, unit: str, max_bytes: int) -> TaskError:
    return TaskError(
        f"The {what} is {size} {unit}; at most {max_bytes} are kept",
        code="TOO_LARGE",
        details={"bytes": size, "max_bytes": max_bytes},
        retry=False,
    )


def to_json_text(value: Any) -> str:
    """JSON data as one line of compact JSON."""
    return to_json_bytes(value).decode()


def to_json_bytes(value: Any) -> bytes:
    """As `to_json_text`, in UTF-8."""
    return to_json(value, inf_nan_mode="null")


def _plain(value: Any) -> Any:
    """One level of a value that `json` does not know, as a value it may know."""
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


def argument_to_jsonable(value: Mapping[str, Any], what: str, max_bytes: int) -> dict[str, Any]:
    """An object that a caller gave, as plain JSON data.

    Raises:
        InvalidArgument: it has no JSON form, or a longer one.
    """
    try:
        return dict(to_jsonable(value, what, max_bytes))
    except TaskError as error:
        if (size := error.details.get("bytes")) is None:
            raise InvalidArgument.at(what, "cannot be written as JSON", "JSON", value) from None
        message = f"is {size} bytes as JSON; at most {max_bytes} are accepted"
        raise InvalidArgument.at(what, message, f"at most {max_bytes} bytes", size) from None


def check_text(path: str, text: str | None, max_chars: int) -> None:
    """Raise InvalidArgument unless the text is None, or 1 to `max_chars` characters of Unicode."""
    if text is not None and (not 0 < len(text) <= max_chars or unicode_text(text) != text):
        expected = f"1 to {max_chars} characters of Unicode"
        raise InvalidArgument.at(path, f"must have {expected}", expected, text)
