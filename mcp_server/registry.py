"""Task types: functions with their arguments, description and policy.

A task type is made from an ordinary function: its signature gives the JSON Schema of
the arguments, its docstring the description. This module runs nothing and knows neither
where tasks are kept nor how they are reached.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal, TypedDict, TypeVar, Unpack, get_args, overload

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from .errors import InvalidArgument, TaskError, UnknownTaskType, shown
from .jsonable import to_jsonable
from .questions import check_key, elicitation
from .schemas import decode_json_texts
from .signature import Returns, arguments_model, context_parameter, explain, is_async, refused, resolved_hints

__all__ = ["Policy", "Questions", "Registry", "Runner", "TaskMode", "TaskOptions", "TaskType"]

Function = TypeVar("Function", bound=Callable[..., Any])
Runner = Literal["async", "thread", "process"]
TaskMode = Literal["optional", "required", "never"]
Questions = Mapping[str, tuple[str, type[BaseModel] | Mapping[str, Any] | None]]
"""By key: the message and the schema of the answer, as for `task.ask`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Limits of the tasks of one type, and the treatment of failures.

    Args:
        timeout: seconds of work, over all attempts, after which the task is stopped and
            fails with `TIMEOUT`; waiting for input or in the queue does not count. None: no limit.
        retries: number of further runs after the function raised.
        retry_delay: seconds before the first of these; doubled for each further one, at most 300.
        on_interrupt: whether a task whose process died is run again ("retry") or fails with `INTERRUPTED` ("fail").
        max_attempts: number of deaths of its process in a row, without a new checkpoint between them,
            after which a task fails with `MAX_ATTEMPTS`.
        concurrency: tasks of the type that run at once, over all processes. None: any number.
        memory: bytes by which the process of a `process=True` function may grow before its task fails
            with `OUT_OF_MEMORY`. None: no limit.
        retention: seconds a task is kept after its end. None: the server's setting.
        mode: whether a client that speaks the tasks extension gets a task ("optional", and "required" for
            clients that do not is an error) or always the result ("never").
    """

    timeout: float | None = None
    retries: int = 0
    retry_delay: float = 1.0
    on_interrupt: Literal["retry", "fail"] = "retry"
    max_attempts: int = 3
    concurrency: int | None = None
    memory: int | None = None
    retention: float | None = None
    mode: TaskMode = "optional"

    def __post_init__(self) -> None:
        for name, minimum in (("retries", 0), ("retry_delay", 0), ("max_attempts", 1)):
            if not getattr(self, name) >= minimum:
                raise ValueError(f"{name} must be {minimum} or more, got {getattr(self, name)}")
        for name in ("timeout", "concurrency", "memory", "retention"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0 or None, got {value}")
        for name, words in (("on_interrupt", ("retry", "fail")), ("mode", get_args(TaskMode))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} must be one of {', '.join(words)}, got {getattr(self, name)!r}")

    def backoff(self, failures: int) -> float:
        """Seconds to wait before the next attempt after `failures` failed ones."""
        return min(300.0, self.retry_delay * 2.0 ** min(64, max(0, failures - 1)))

    def expires_at(self, now: float, default: float) -> float:
        """The time at which a task that ends `now` is deleted; `default` is the retention of types that set none."""
        return now + (default if self.retention is None else self.retention)

    def public(self) -> dict[str, Any]:
        return asdict(self)


class PolicyOptions(TypedDict, total=False):
    """The fields of `Policy`, as keyword arguments of a decorator."""

    timeout: float | None
    retries: int
    retry_delay: float
    on_interrupt: Literal["retry", "fail"]
    max_attempts: int
    concurrency: int | None
    memory: int | None
    retention: float | None
    mode: TaskMode


class TaskOptions(PolicyOptions, total=False):
    """The keyword arguments of `Registry.task` and `LongTaskServer.task`."""

    name: str | None
    description: str | None
    process: bool
    ask_first: Questions | None
    title: str | None
    annotations: Any
    icons: Sequence[Any] | None
    meta: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskType:
    """A registered function. `name` is unique in its registry."""

    name: str
    description: str
    function: Callable[..., Any]
    runner: Runner
    policy: Policy
    context_parameter: str | None
    input_schema: Mapping[str, Any]
    output_schema: Mapping[str, Any] | None
    model: type[BaseModel]
    returns: Returns | None = None
    """The declared type of the result; None without one that JSON Schema can express."""
    ask_first: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Questions put to the caller before a task exists, by key, as elicitation requests."""
    tool: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the type's own tool, for MCP clients: `title`, `annotations`, `icons`, `meta`."""

    @classmethod
    def from_function(
        cls,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        description: str | None = None,
        process: bool = False,
        ask_first: Questions | None = None,
        title: str | None = None,
        annotations: Any = None,
        icons: Sequence[Any] | None = None,
        meta: Mapping[str, Any] | None = None,
        **policy: Unpack[PolicyOptions],
    ) -> TaskType:
        """A task type made from a function's signature and docstring.

        Args:
            name: by default the function's.
            description: by default its docstring.
            process: run it in a process of its own, which is killed when it does not stop by itself.
            ask_first: questions put to a caller who can be asked before there is a task;
                `{"name": ("Who are you?", Name)}` is found by `task.ask("Who are you?", Name, key="name")`.
            title: the name for people of the tool that the type has; by default hosts show `name`.
            annotations: hints about the tool, as `mcp_types.ToolAnnotations` or its fields; by default that it may
                change something and reach out.
            icons: pictures of the tool, each an `mcp_types.Icon` or its fields.
            meta: `_meta` of the tool.
            policy: the fields of `Policy`.

        Raises:
            TypeError: the signature cannot be offered to callers; the message says which part.
            ValueError: a policy value is out of range.
        """
        if inspect.isclass(function) or not hasattr(function, "__name__"):
            raise TypeError(
                f"a task type is made from a function, got {shown(function)}; write a `def` that calls it, "
                "with the parameters that callers may give"
            )
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise refused(function, "return the result instead of yielding; `task.emit` sends parts of it")
        if process and is_async(function):
            raise refused(function, "process=True takes a plain function, not `async def`")
        if policy.get("memory") is not None and not process:
            raise refused(function, "memory= limits a process, so it takes process=True")
        for key in ask_first or {}:
            check_key(key)
        name = name or function.__name__
        hints = resolved_hints(function)
        context = context_parameter(function, hints)
        model, schema = arguments_model(function, hints, name, context)
        returns = Returns.of(hints.get("return", Any))
        return cls(
            name=name,
            description=description or inspect.getdoc(function) or f"Runs {name}.",
            function=function,
            runner="process" if process else "async" if is_async(function) else "thread",
            policy=Policy(**policy),
            context_parameter=context,
            input_schema=schema,
            output_schema=None if returns is None else returns.schema,
            model=model,
            returns=returns,
            ask_first={key: elicitation(*question) for key, question in (ask_first or {}).items()},
            tool={"title": title, "annotations": annotations, "icons": icons, "meta": meta},
        )

    def accepts(self, parameter: str) -> bool:
        return parameter in self.model.model_fields

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The keyword arguments of a call, validated and converted as JSON.

        A JSON text is read as the object or list it holds where the schema admits no string.

        Raises:
            InvalidArgument: `details["errors"]` lists path, message, expected and got.
        """
        try:
            return self._validated(arguments)
        except ValidationError as error:
            wrong = {e["loc"][0] for e in error.errors(include_url=False) if e["loc"]}
            given = {name: value for name, value in arguments.items() if name in wrong}
            decoded = decode_json_texts(self.input_schema, given)
            if decoded == given:
                raise self._refusal(error) from None
        try:
            return self._validated({**arguments, **decoded})
        except ValidationError as error:
            raise self._refusal(error) from None

    def _validated(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        try:
            try:
                # NaN is kept for the model to refuse.
                written = to_json(dict(arguments), inf_nan_mode="constants")
            except (PydanticSerializationError, ValueError):
                written = to_json(to_jsonable(dict(arguments), "arguments", sys.maxsize))
        except TaskError as error:
            raise InvalidArgument(error.message) from None
        bound = self.model.model_validate_json(written)
        return {name: getattr(bound, name) for name in self.model.model_fields}

    def _refusal(self, error: ValidationError) -> InvalidArgument:
        # A misspelled name explains the one that is missing, so it comes first.
        found = sorted(error.errors(include_url=False), key=lambda e: e["type"] == "missing")
        errors = [explain(e, self.input_schema.get("properties", {})) for e in found]
        first = f"{errors[0]['path']}: {errors[0]['message']}" if errors[0]["path"] else errors[0]["message"]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        return InvalidArgument(f"Invalid arguments for {self.name}: {first}{more}", errors=errors)

    def to_json(self, result: Any, max_bytes: int) -> Any:
        """The result of the function as plain JSON, which fits `output_schema`.

        Raises:
            TaskError: `INVALID_RESULT` when the value does not fit its declared type, `NOT_JSON`, `TOO_LARGE`.
        """
        if self.returns is None:
            return to_jsonable(result, "result", max_bytes)
        return self.returns.to_json(result, max_bytes)


class Registry:
    """The task types of one server, by name."""

    def __init__(self) -> None:
        self._types: dict[str, TaskType] = {}

    def add(self, task_type: TaskType) -> None:
        if task_type.name in self._types:
            raise ValueError(f"there is already a task type named {task_type.name!r}")
        self._types[task_type.name] = task_type

    @overload
    def task(self, function: Function, /) -> Function: ...

    @overload
    def task(self, function: None = None, /, **options: Unpack[TaskOptions]) -> Callable[[Function], Function]: ...

    def task(self, function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
        """Register a function as a task type: `@registry.task` or `@registry.task(timeout=600)`.

        The function stays as it is. `async def` runs on the event loop, a plain `def` in a
        thread, with `process=True` in a process of its own. A parameter annotated
        `TaskContext` (`SyncTaskContext` in a plain function) receives the running task.

        Args:
            options: see `TaskType.from_function`.

        Raises:
            TypeError: the signature cannot be offered to callers.
            ValueError: the name is taken, or a policy value is out of range.
        """
        if function is None:
            return partial(self.task, **options)
        self.add(TaskType.from_function(function, **options))
        return function

    def get(self, name: str) -> TaskType:
        """The task type of that name, or UnknownTaskType with the known ones."""
        if (found := self._types.get(name)) is None:
            raise UnknownTaskType(name, sorted(self._types))
        return found

    def __iter__(self) -> Iterator[TaskType]:
        return iter(self._types.values())

    def __contains__(self, name: object) -> bool:
        return name in self._types

    def __len__(self) -> int:
        return len(self._types)
