"""The arguments and the result of a task function, read from its signature.

Arguments are validated as JSON. A result is checked against its declared type and written by
that type's serializer, from which its schema is made. What callers cannot be offered is refused
with the place of the function.
"""

from __future__ import annotations

import inspect
import types
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Self, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, PydanticUserError, TypeAdapter, ValidationError, create_model
from pydantic.errors import PydanticSchemaGenerationError
from pydantic_core import ErrorDetails, PydanticSerializationError, from_json

from .context import SyncTaskContext, TaskContext
from .errors import TaskError, cut, did_you_mean, shown
from .jsonable import json_serializer, to_json_bytes, to_jsonable, too_large
from .schemas import OutputSchema

__all__ = ["Returns", "arguments_model", "context_parameter", "explain", "is_async", "refused", "resolved_hints"]


MAX_VALUE_BYTES = 100_000
"""Bytes of a result that does not fit its type, kept whole in the error."""


def refused(function: Callable[..., Any], reason: str) -> TypeError:
    """The error of a function that cannot be a task type, with its name and place."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    place = "" if code is None else f" ({code.co_filename}, line {code.co_firstlineno})"
    return TypeError(f"{getattr(function, '__name__', shown(function))}: {reason}{place}")


def is_async(function: Callable[..., Any]) -> bool:
    """Whether the function is an `async def`, also behind decorators that are plain functions."""
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(inspect.unwrap(function))


def resolved_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function, by parameter and under `return`.

    Raises:
        TypeError: a name in them is not known where the function is defined.
    """
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise refused(
            function,
            f"the annotation {error.name!r} cannot be resolved; import or define it at the top level of its module, "
            "outside `if TYPE_CHECKING`",
        ) from None
    except TypeError as error:
        raise refused(function, f"an annotation cannot be resolved: {error}") from None


def context_parameter(function: Callable[..., Any], hints: Mapping[str, Any]) -> str | None:
    """The parameter that receives the running task."""
    wanted, other = (TaskContext, SyncTaskContext) if is_async(function) else (SyncTaskContext, TaskContext)
    found = {name: c for name, hint in hints.items() if name != "return" and (c := _context_class(hint)) is not None}
    if len(found) > 1:
        raise refused(function, f"there are {len(found)} context parameters ({', '.join(found)}); one is enough")
    if not found:
        return None
    ((name, kind),) = found.items()
    if kind is other:
        written = "an async def" if is_async(function) else "a plain def"
        raise refused(
            function,
            f"{written} function takes a {wanted.__name__}, not a {other.__name__} (parameter {name!r})",
        )
    return name


def _context_class(hint: Any) -> type | None:
    if get_origin(hint) is Annotated:
        return _context_class(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        found = [c for c in map(_context_class, get_args(hint)) if c is not None]
        return found[0] if found else None
    return hint if hint in (TaskContext, SyncTaskContext) else None


_RESERVED = {name for name in dir(BaseModel) if name.startswith("model_")}


def arguments_model(
    function: Callable[..., Any], hints: Mapping[str, Any], name: str, context: str | None
) -> tuple[type[BaseModel], dict[str, Any]]:
    """The model of the arguments, and its JSON Schema.

    Args:
        context: the parameter that is no argument.
    """
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == context:
            continue
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise refused(function, f"the parameter {parameter.name!r} must be passable by name")
        if parameter.name.startswith("_") or parameter.name in _RESERVED:
            raise refused(function, f"a parameter cannot be named {parameter.name!r}")
        default = ... if parameter.default is parameter.empty else parameter.default
        fields[parameter.name] = (hints.get(parameter.name, Any), default)
    try:
        with warnings.catch_warnings():
            # A parameter may have the name of a method of BaseModel, such as `json` or `schema`.
            warnings.filterwarnings("ignore", "Field name .* shadows", UserWarning)
            model = create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)
        return model, model.model_json_schema(by_alias=True)
    except (PydanticUserError, PydanticSchemaGenerationError, NameError) as error:
        odd = next((name for name, (hint, _) in fields.items() if not _has_schema(hint)), None)
        if odd is None:
            raise refused(function, f"its parameters cannot be described as JSON Schema: {error}") from None
        kind = shown(fields[odd][0], 200)
        raise refused(function, f"the parameter {odd!r} cannot be described as JSON Schema: {kind}") from None


def _has_schema(hint: Any) -> bool:
    try:
        TypeAdapter(hint).json_schema()
    except (PydanticUserError, PydanticSchemaGenerationError, NameError):
        return False
    return True


class Returns:
    """The declared type of a result: checks values, and writes them by the serializer that the schema is made from."""

    def __init__(self, declared: Any) -> None:
        self._adapter = TypeAdapter(declared)
        adapted, self._serializer = json_serializer(self._adapter.core_schema)
        self.schema = OutputSchema(by_alias=True).generate(adapted, mode="serialization")

    @classmethod
    def of(cls, declared: Any) -> Self | None:
        """None for a type that says nothing, or nothing that JSON Schema can express."""
        if declared in (Any, None, type(None)):
            return None
        try:
            return cls(declared)
        except (PydanticUserError, PydanticSchemaGenerationError, TypeError):
            return None

    def to_json(self, value: Any, max_bytes: int) -> Any:
        """See `TaskType.to_json`."""
        written = self._written(value, max_bytes)
        if len(written) > max_bytes:
            raise too_large("result", len(written), max_bytes)
        plain = from_json(written)
        # A model may ask for NaN as a constant, which is no JSON.
        return to_jsonable(plain, "result", max_bytes) if b"NaN" in written or b"Infinity" in written else plain

    def _written(self, value: Any, max_bytes: int) -> bytes:
        try:
            try:
                fitting = self._adapter.validate_python(value)
            except ValidationError as error:
                # Arrays, and others that only have the declared type once they are JSON.
                plain = to_jsonable(value, "result", max_bytes)
                try:
                    fitting = self._adapter.validate_json(to_json_bytes(plain))
                except ValidationError:
                    raise _misfit(error, plain) from None
            return self._serializer.to_json(fitting, by_alias=True, warnings="error")
        except (PydanticSerializationError, RecursionError) as error:
            # A part without a JSON form is named by its place; what has one does not fit its declared type.
            to_jsonable(value, "result", max_bytes)
            reason = " ".join(str(error).split())
            raise TaskError(
                f"The result does not fit its declared type: {cut(reason, 500)}", code="INVALID_RESULT", retry=False
            ) from None


def _misfit(error: ValidationError, plain: Any) -> TaskError:
    errors = [explain(e) for e in error.errors(include_url=False)[:20]]
    kept = plain if len(to_json_bytes(plain)) <= MAX_VALUE_BYTES else shown(plain, 1000)
    first = errors[0]
    where = ".".join(filter(None, ("result", first["path"])))
    return TaskError(
        f"The result does not fit its declared type: {where}: {first['message']}, got {first['got']}",
        code="INVALID_RESULT",
        # The value stays in the task's record, so that its author can read the result of an hour of work.
        details={"errors": errors, "value": kept},
        retry=False,
    )


def explain(error: ErrorDetails, known: Iterable[str] = ()) -> dict[str, Any]:
    """One validation error as `details["errors"]` lists it: path, message, expected, got.

    Args:
        known: the names of the arguments.
    """
    context = error.get("ctx") or {}
    expected = ", ".join(f"{k} {v}" for k, v in context.items() if k not in ("error", "class_name"))
    if error["type"] == "missing":
        expected = "a value"
    message = error["msg"]
    is_unknown = error["type"] == "extra_forbidden" and len(error["loc"]) == 1
    if is_unknown:
        expected = f"one of: {', '.join(known)}" if known else "no arguments"
        message = f"There is no such argument{did_you_mean(str(error['loc'][0]), known)}"
    return {
        "path": ".".join(str(part) for part in error["loc"]),
        "message": message,
        "expected": expected or error["type"].removesuffix("_type").removesuffix("_parsing").replace("_", " "),
        "got": "nothing" if error["type"] == "missing" else shown(error["input"]),
    }
