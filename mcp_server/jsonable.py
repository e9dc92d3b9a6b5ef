"""The JSON form of any Python value: of results, events, checkpoints and metadata alike.

Datetimes, Decimal, UUID, bytes (standard base64), sets, dataclasses, pydantic models, NaN and
infinities (null), numpy scalars and arrays, exceptions, iterables and plain objects have one.
Models and dataclasses are written by their own serializers. A value without a form is an error
that names its place.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import inspect
import io
import itertools
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, PydanticUserError, TypeAdapter
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import (
    CoreSchema,
    PydanticSerializationError,
    SchemaSerializer,
    core_schema,
    from_json,
    to_json,
    to_jsonable_python,
)

from .errors import InvalidArgument, TaskError, cut

__all__ = [
    "argument_to_jsonable",
    "bounded_text",
    "check_text",
    "json_serializer",
    "to_json_bytes",
    "to_json_text",
    "to_jsonable",
    "to_jsonable_sized",
    "too_large",
    "unicode_text",
]

MAX_ITEMS = 10_000_000
"""Items taken from an iterable, which may never end."""
_NUMBER_LIKE_KEY = re.compile(r'"(?:-?\d[^"\\]*|true|false|null)":')


def to_jsonable(value: Any, what: str, max_bytes: int) -> Any:
    """`value` as plain JSON data.

    Raises:
        TaskError: `NOT_JSON` when a part has no JSON form, `TOO_LARGE` when the JSON is
            longer than `max_bytes`. `what` names the value in the message.
    """
    return to_jsonable_sized(value, what, max_bytes)[0]


def to_jsonable_sized(value: Any, what: str, max_bytes: int) -> tuple[Any, int]:
    """As `to_jsonable`, with the length of the JSON."""
    try:
        try:
            written = json.dumps(value, default=_one_level, allow_nan=False, separators=(",", ":"))
            plain = from_json(written)
            if _NUMBER_LIKE_KEY.search(written):
                json.loads(written, object_pairs_hook=_distinct)
        except (TypeError, ValueError, PydanticSerializationError):
            # NaN, halves of surrogate pairs, iterators, or no form at all: rare, so only then is everything
            # walked in Python, which also finds the place of a value without a form.
            written = json.dumps(_walked(value, what.rpartition(" ")[2]), allow_nan=False, separators=(",", ":"))
            plain = from_json(written)
    except RecursionError:
        raise _not_json(what, "it is nested too deeply") from None
    except ValueError as error:
        reason = "it is nested too deeply" if "recursion limit" in str(error) else str(error)
        raise _not_json(what, reason) from None
    if len(written) > max_bytes:
        raise too_large(what, len(written), max_bytes)
    return plain, len(written)


def bounded_text(value: object, what: str, max_bytes: int) -> str:
    """A text for people (a message, a name), without what UTF-8 cannot hold.

    Raises:
        TaskError: `TOO_LARGE`.
    """
    found = unicode_text(value)
    if len(found) > max_bytes:
        raise too_large(what, len(found), max_bytes, unit="characters long")
    return found


def unicode_text(value: object, max_chars: int | None = None) -> str:
    """As `bounded_text`, but cut to `max_chars` characters. Halves of surrogate pairs become U+FFFD."""
    found = str(value)
    if not found.isascii():
        found = found.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return found if max_chars is None else cut(found, max_chars)


def to_json_text(value: Any) -> str:
    """JSON data as one line of compact JSON."""
    return to_json_bytes(value).decode()


def to_json_bytes(value: Any) -> bytes:
    """As `to_json_text`, in UTF-8."""
    return to_json(value, inf_nan_mode="null")


def json_serializer(schema: CoreSchema) -> tuple[CoreSchema, SchemaSerializer]:
    """The serializer of a pydantic schema, and the schema with what it does beyond pydantic's own.

    Bytes are standard base64 where the author has not chosen (`ser_json_bytes`), and parts without
    a declared type are written by the rules of this module.
    """
    ours = _adapted(schema, writes_bytes=True)
    # Without prebuilt serializers, because models within would else be written by pydantic's rules.
    return ours, SchemaSerializer(ours, None, _use_prebuilt=False)


def too_large(what: str, size: int, max_bytes: int, *, unit: str = "bytes as JSON") -> TaskError:
    return TaskError(
        f"The {what} is {size} {unit}; at most {max_bytes} are kept",
        code="TOO_LARGE",
        details={"bytes": size, "max_bytes": max_bytes},
        retry=False,
    )


def _not_json(what: str, reason: str) -> TaskError:
    return TaskError(f"The {what} cannot be written as JSON: {reason}", code="NOT_JSON", retry=False)


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    if len(keys := [key for key, _ in pairs]) != len(set(keys)):
        raise ValueError("two keys are the same in JSON")


def _one_level(value: Any) -> Any:
    """One level of a value that `json` does not know, as a value it may know.

    Raises:
        TypeError: an iterator, which can be read only once, or no form.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, BaseModel) or (dataclasses.is_dataclass(value) and not isinstance(value, type)):
        return _record(value)
    if isinstance(value, set | frozenset):
        try:
            return sorted(value)
        except TypeError:
            return list(value)
    if isinstance(value, Mapping):
        return dict(value)
    # numpy is not a dependency; its scalars and arrays, and those of its relatives, all have `tolist`.
    if callable(tolist := getattr(value, "tolist", None)) and not isinstance(value, type):
        return tolist()
    if isinstance(value, Iterator):
        raise TypeError
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        return _obvious(value)


def _obvious(value: Any) -> Any:
    """The form of an exception, of an iterable, or of an object with public attributes."""
    if isinstance(value, BaseException):
        return {"type": type(value).__name__, "message": str(value)}
    if isinstance(value, type | io.IOBase) or inspect.isroutine(value) or inspect.ismodule(value):
        raise TypeError
    if isinstance(value, Iterable):
        items = list(itertools.islice(value, MAX_ITEMS + 1))
        if len(items) > MAX_ITEMS:
            raise ValueError(f"an iterable has more than {MAX_ITEMS} items")
        return items
    slots = [s for c in type(value).__mro__ for s in _names(c.__dict__.get("__slots__", ()))]
    names = [name for name in (*slots, *getattr(value, "__dict__", ())) if not name.startswith("_")]
    if not names:
        raise TypeError
    return {name: getattr(value, name) for name in names if hasattr(value, name)}


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else slots


def _record(value: Any) -> Any:
    """A model or a dataclass by its own serializer; field by field where that one fails."""
    if (serializer := _serializer_of(type(value))) is not None:  # type: ignore[arg-type]
        try:
            return from_json(serializer.to_json(value, by_alias=True, warnings="none"))
        except (PydanticSerializationError, ValueError):
            pass
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, warnings="none")
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}


@functools.lru_cache(maxsize=1000)
def _serializer_of(kind: Any) -> SchemaSerializer | None:
    try:
        return json_serializer(TypeAdapter(kind).core_schema)[1]
    except (PydanticUserError, PydanticSchemaGenerationError, NameError, TypeError):
        return None


def _walked(value: Any, path: str) -> Any:
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return unicode_text(value.value if hasattr(value, "value") else value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, dict):
        return _walked_object(value, path)
    if isinstance(value, Iterator):
        value = _obvious(value)
    if isinstance(value, list | tuple):
        return [_walked(item, f"{path}[{n}]") for n, item in enumerate(value)]
    try:
        found = _one_level(value)
    except (TypeError, PydanticSerializationError):
        raise ValueError(f"{path} is a {type(value)}") from None
    return _walked(found, path)


def _walked_object(value: dict[Any, Any], path: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        name = _key(key, path)
        if name in found:
            raise ValueError(f"{path} has two keys that are {name!r} in JSON")
        found[name] = _walked(item, f"{path}.{name}")
    return found


def _key(key: Any, path: str) -> str:
    if isinstance(key, float) and not math.isfinite(key):
        return str(key)
    try:
        plain = key if isinstance(key, str) else to_jsonable_python(key)
    except (PydanticSerializationError, ValueError):
        raise ValueError(f"a key of {path} is a {type(key)}") from None
    return unicode_text(plain) if isinstance(plain, str) else json.dumps(plain)


_LEAVES = {"cls", "config", "default", "expected", "function", "members", "metadata"}
"""Keys of a pydantic schema that hold no schema."""
_CONTAINERS = {"list": "items_schema", "set": "items_schema", "frozenset": "items_schema", "dict": "values_schema"}


def _base64(value: Any) -> Any:
    return base64.b64encode(value).decode() if isinstance(value, bytes | bytearray | memoryview) else value


_BYTES_AS_BASE64 = core_schema.plain_serializer_function_ser_schema(
    _base64, return_schema=core_schema.str_schema(), when_used="json"
)
_BY_OUR_RULES = core_schema.plain_serializer_function_ser_schema(
    lambda value: _walked(value, "result"), when_used="json"
)


def _adapted(schema: Any, *, writes_bytes: bool) -> Any:
    if isinstance(schema, list | tuple):
        return type(schema)(_adapted(item, writes_bytes=writes_bytes) for item in schema)
    if not isinstance(schema, dict):
        return schema
    if "ser_json_bytes" in (schema.get("config") or {}):
        writes_bytes = False
    kind = schema.get("type")
    # A mapping without a type holds schemas by name: fields, or the choices of a tagged union.
    leaves = _LEAVES if isinstance(kind, str) else set()
    found = {k: v if k in leaves else _adapted(v, writes_bytes=writes_bytes) for k, v in schema.items()}
    if isinstance(kind, str) and kind in _CONTAINERS:
        found.setdefault(_CONTAINERS[kind], {"type": "any", "serialization": _BY_OUR_RULES})
    if kind == "any":
        found.setdefault("serialization", _BY_OUR_RULES)
    elif kind == "bytes" and writes_bytes:
        found.setdefault("serialization", _BYTES_AS_BASE64)
    return found


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
