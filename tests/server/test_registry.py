"""Task types: what a function's signature becomes, which functions are refused, what a policy admits."""

from __future__ import annotations

import datetime as dt
import enum
import functools
import math
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field

from mcp_server import LongTaskServer, Policy, SyncTaskContext, TaskContext
from mcp_server.errors import InvalidArgument, UnknownTaskType
from mcp_server.registry import Registry, TaskType


class Options(BaseModel):
    language: Literal["de", "en"] = "en"


@dataclass
class Report:
    words: int


async def ingest(
    path: str, size: Annotated[int, Field(ge=1, le=9, description="Pages at once")] = 4, *, task: TaskContext
) -> Report:
    """Extract and index one document.

    Slowly.
    """
    return Report(size)


def plain(path: str) -> None: ...


def test_the_signature_is_the_schema_and_the_docstring_the_description() -> None:
    """Callers see what the author wrote, and nothing of the context."""
    made = TaskType.from_function(ingest)
    assert (made.name, made.runner) == ("ingest", "async")
    assert made.description == "Extract and index one document.\n\nSlowly."
    assert made.input_schema["required"] == ["path"]
    assert made.input_schema["additionalProperties"] is False
    assert made.input_schema["properties"]["size"] == {
        "default": 4, "description": "Pages at once", "maximum": 9, "minimum": 1, "title": "Size", "type": "integer",
    }  # fmt: skip
    assert set(made.input_schema["properties"]) == {"path", "size"}
    assert made.output_schema is not None
    assert made.output_schema["properties"]["words"]["type"] == "integer"


def test_a_function_without_words_gets_some() -> None:
    """MCP asks for a description of every tool."""
    made = TaskType.from_function(plain, name="copy")
    assert (made.name, made.description, made.runner) == ("copy", "Runs copy.", "thread")
    assert made.output_schema is None
    assert TaskType.from_function(plain, process=True).runner == "process"


def test_arguments_are_validated_and_converted() -> None:
    """The function gets what it declared, with its defaults."""
    made = TaskType.from_function(lambda options, count: None, name="x")
    assert made.bind({"options": {"a": 1}, "count": "3"}) == {"options": {"a": 1}, "count": "3"}

    async def typed(options: Options, ratio: float = 0.5) -> None: ...

    bound = TaskType.from_function(typed).bind({"options": {"language": "de"}})
    assert bound == {"options": Options(language="de"), "ratio": 0.5}


@pytest.mark.parametrize(
    ("arguments", "path", "message"),
    [
        ({}, "path", "Field required"),
        ({"path": 3}, "path", "valid string"),
        ({"path": "a", "size": 10}, "size", "less than or equal to 9"),
        ({"path": "a", "size": "many"}, "size", "valid integer"),
        ({"path": "a", "size": 10**9}, "size", "less than or equal to 9"),
        ({"path": "a", "colour": 1}, "colour", "no such argument"),
        ({"path": "a", "task": {}}, "task", "no such argument"),
    ],
)
def test_a_wrong_argument_is_named(arguments: dict[str, Any], path: str, message: str) -> None:
    """The caller learns which argument, what is wrong with it, what was expected and what came."""
    with pytest.raises(InvalidArgument, match="Invalid arguments for ingest: ") as refused:
        TaskType.from_function(ingest).bind(arguments)
    (error,) = refused.value.details["errors"]
    assert set(error) == {"path", "message", "expected", "got"}
    assert error["path"] == path
    assert message in error["message"]


def test_an_argument_that_is_not_there_is_answered_with_those_that_are() -> None:
    """Whoever misspelt one finds the right one in the error."""

    def nothing() -> None: ...

    for function, expected in ((ingest, "one of: path, size"), (nothing, "no arguments")):
        with pytest.raises(InvalidArgument) as refused:
            TaskType.from_function(function).bind({"path": "a", "colour": 1} if function is ingest else {"colour": 1})
        assert refused.value.details["errors"][0]["expected"] == expected


def test_what_came_is_shown_in_brief() -> None:
    """An argument of a megabyte does not come back in the answer."""
    with pytest.raises(InvalidArgument) as refused:
        TaskType.from_function(ingest).bind({"path": ["x" * 1_000_000], "size": 0})
    assert len(str(refused.value.details)) < 1000
    assert len(refused.value.details["errors"]) == 2
    assert "(and 1 more)" in refused.value.message


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_number_is_finite(value: float) -> None:
    """NaN has no JSON form, so no function is called with it."""

    def half(x: float) -> float:
        return x / 2

    with pytest.raises(InvalidArgument, match="finite number"):
        TaskType.from_function(half).bind({"x": value})


class Colour(enum.Enum):
    RED = "red"


class Strict(BaseModel, strict=True):
    day: dt.date
    ratio: float = 1.0
    colours: set[Colour] = set()
    pair: tuple[int, str] = (0, "")
    id: uuid.UUID | None = None


def test_arguments_are_validated_as_the_json_they_are() -> None:
    """A strict model refuses a text for a date in Python, and takes it from JSON, which has no dates."""

    def book(stay: Strict) -> None: ...

    given = {"day": "2026-01-02", "ratio": 1, "colours": ["red"], "pair": [1, "a"], "id": str(uuid.UUID(int=1))}
    bound = TaskType.from_function(book).bind({"stay": given})
    assert bound["stay"] == Strict(
        day=dt.date(2026, 1, 2), ratio=1.0, colours={Colour.RED}, pair=(1, "a"), id=uuid.UUID(int=1)
    )
    assert TaskType.from_function(book).bind({"stay": {"day": dt.date(2026, 1, 2)}})["stay"].day.year == 2026


class Node(BaseModel):
    name: str
    children: list[Node] = []


@pytest.mark.parametrize(
    ("annotation", "given", "bound"),
    [
        (Options, '{"language": "de"}', Options(language="de")),
        (Options | None, '{"language": "de"}', Options(language="de")),
        (list[int], "[1, 2]", [1, 2]),
        (dict[str, Any], ' {"a": [1]}', {"a": [1]}),
        (dict[str, list[int]], {"a": "[1]"}, {"a": [1]}),
        (list[Options], ['{"language": "de"}'], [Options(language="de")]),
        (list[dict[str, list[int]]], '["{\\"a\\": \\"[1]\\"}"]', [{"a": [1]}]),
        (Node, {"name": "[1]", "children": '[{"name": "{}"}]'}, Node(name="[1]", children=[Node(name="{}")])),
        (tuple[int, list[int]], [1, "[2]"], (1, [2])),
        (str, "[1]", "[1]"),
        (str | list[int], "[1]", "[1]"),
        (Any, "[1]", "[1]"),
        (dict[str, str], {"a": "[1]"}, {"a": "[1]"}),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_text_is_read_where_no_text_is_admitted(annotation: Any, given: Any, bound: Any) -> None:
    """Models and hosts pass nested arguments as text; a parameter that may be a text keeps it."""

    def run(x: Any) -> None: ...

    run.__annotations__["x"] = annotation
    assert TaskType.from_function(run).bind({"x": given}) == {"x": bound}


@pytest.mark.parametrize("given", ["[1", "{nope}", "5", "", "[[]]"])
def test_text_that_is_no_such_json_is_refused_as_before(given: str) -> None:
    """The error speaks of the argument, not of its decoding."""

    def run(x: list[int]) -> None: ...

    with pytest.raises(InvalidArgument, match="Invalid arguments for run: x"):
        TaskType.from_function(run).bind({"x": given})


def test_an_argument_with_an_alias_is_named_by_it() -> None:
    """In the schema, in hints and in errors; the function gets its own name for it."""

    def send(sender: Annotated[str, Field(alias="from")], to: int = 1) -> None: ...

    made = TaskType.from_function(send)
    assert made.bind({"from": "a"}) == {"sender": "a", "to": 1}
    with pytest.raises(InvalidArgument) as refused:
        made.bind({"sender": "a"})
    assert [(e["path"], e["expected"]) for e in refused.value.details["errors"]] == [
        ("sender", "one of: from, to"),
        ("from", "a value"),
    ]


@pytest.mark.parametrize(
    ("given", "meant"),
    [("sise", "size"), ("Path", "path"), ("pathname", "path"), ("zzz", None)],
)
def test_a_misspelt_argument_is_answered_with_the_nearest_name(given: str, meant: str | None) -> None:
    """The caller mends a slip without reading the schema again."""
    with pytest.raises(InvalidArgument) as refused:
        TaskType.from_function(ingest).bind({"path": "a", given: "b"})
    hint = "" if meant is None else f"; did you mean `{meant}`?"
    assert refused.value.details["errors"][0]["message"] == f"There is no such argument{hint}"
    with pytest.raises(InvalidArgument, match="There is no such argument"):
        TaskType.from_function(ingest).bind({given: "b"})  # though `path` is missing as well


def _logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def test_a_plain_decorator_leaves_an_async_function_async() -> None:
    """`functools.wraps` is enough to see what is behind it."""
    made = TaskType.from_function(_logged(ingest))
    assert (made.runner, made.context_parameter) == ("async", "task")


def test_the_context_may_be_annotated_or_optional() -> None:
    """A function that is also called without a task says `TaskContext | None`."""

    async def one(*, task: TaskContext | None = None) -> None: ...

    async def two(*, task: Annotated[TaskContext, "the running task"]) -> None: ...

    assert [TaskType.from_function(f).context_parameter for f in (one, two)] == ["task", "task"]


def _unresolvable(x: Nowhere) -> None: ...  # type: ignore[name-defined] # noqa: F821


def _two(a: SyncTaskContext, b: SyncTaskContext) -> None: ...


def _sync_with_async_context(task: TaskContext) -> None: ...


async def _async_with_sync_context(task: SyncTaskContext) -> None: ...


def _starred(*paths: str) -> None: ...


def _keywords(**options: str) -> None: ...


def _positional(path: str, /) -> None: ...


class _Strange: ...


def _strange(x: _Strange) -> None: ...


def _calls_back(on_page: Callable[[int], None]) -> None: ...


def _hidden(_x: int) -> None: ...


def _taken(model_dump: int) -> None: ...


def _yields() -> Iterator[int]:
    yield 1


async def _yields_too() -> AsyncIterator[int]:
    yield 1


class _Callable:
    def __call__(self) -> None: ...


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (_yields, "return the result instead of yielding"),
        (_yields_too, "return the result instead of yielding"),
        (partial(_taken, 1), "a task type is made from a function, got functools.partial"),
        (_Callable(), "a task type is made from a function, got <"),
        (_Callable, "a task type is made from a function, got <class"),
        (_unresolvable, "the annotation 'Nowhere' cannot be resolved"),
        (_two, "2 context parameters"),
        (_sync_with_async_context, "a plain def function takes a SyncTaskContext"),
        (_async_with_sync_context, "an async def function takes a TaskContext"),
        (_starred, "'paths' must be passable by name"),
        (_keywords, "'options' must be passable by name"),
        (_positional, "'path' must be passable by name"),
        (_calls_back, "the parameter 'on_page' cannot be described as JSON Schema"),
        (_strange, "cannot be described as JSON Schema"),
        (_hidden, "cannot be named '_x'"),
        (_taken, "cannot be named 'model_dump'"),
    ],
)
def test_a_function_that_cannot_be_offered_is_refused_at_once(function: Callable[..., Any], complaint: str) -> None:
    """When it is registered, not when the first caller comes; the message says which part."""
    with pytest.raises(TypeError, match=complaint) as refused:
        TaskType.from_function(function)
    if not isinstance(function, partial | _Callable | type):
        code = function.__code__
        assert str(refused.value).endswith(f"({code.co_filename}, line {code.co_firstlineno})")


def test_a_process_runs_plain_functions() -> None:
    """`async def` has its own way to run."""
    with pytest.raises(TypeError, match="process=True takes a plain function"):
        TaskType.from_function(ingest, process=True)


def test_any_parameter_name_will_do() -> None:
    """Names that mean something to pydantic are ordinary names here, and nobody is warned of them."""

    def odd(schema: str, json: int, copy: bool = True, model_name: str = "") -> None: ...

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made = TaskType.from_function(odd)
    bound = made.bind({"schema": "a", "json": 1, "model_name": "m"})
    assert bound == {"schema": "a", "json": 1, "copy": True, "model_name": "m"}
    assert set(made.input_schema["properties"]) == {"schema", "json", "copy", "model_name"}


def test_names_are_unique_and_the_unknown_one_is_answered_with_the_known() -> None:
    """A caller who mistypes sees what there is, without getting its own megabyte back."""
    registry = Registry()
    registry.add(TaskType.from_function(plain))
    with pytest.raises(ValueError, match="already a task type named 'plain'"):
        registry.add(TaskType.from_function(plain))
    with pytest.raises(UnknownTaskType, match="known are: plain") as refused:
        registry.get("y" * 1_000_000)
    with pytest.raises(UnknownTaskType, match="'Plian'; known are: plain; did you mean `plain`"):
        registry.get("Plian")
    assert refused.value.details == {"known": ["plain"]}
    assert len(refused.value.message) < 200
    assert "plain" in registry
    assert len(registry) == 1


@pytest.mark.parametrize(
    "values",
    [
        {"timeout": 0}, {"timeout": -1.0}, {"retries": -1}, {"retry_delay": -0.1}, {"max_attempts": 0},
        {"concurrency": 0}, {"retention": 0}, {"timeout": math.nan}, {"retries": math.nan}, {"on_interrupt": "Fail"},
        {"mode": "always"},
    ],
    ids=str,
)  # fmt: skip
def test_a_policy_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    """At registration, with the name of the field."""
    with pytest.raises(ValueError, match=next(iter(values))):
        Policy(**values)


def test_the_pause_between_attempts_doubles_up_to_five_minutes() -> None:
    """However often it failed, somebody sees the next attempt today."""
    policy = Policy(retries=2000, retry_delay=2.0)
    assert [policy.backoff(n) for n in (1, 2, 3, 8, 9, 2000)] == [2.0, 4.0, 8.0, 256.0, 300.0, 300.0]


def test_registering_leaves_the_function_as_it_was() -> None:
    """It can still be called and tested as any other; both spellings of the decorator do the same."""
    server = LongTaskServer("x")
    assert server.task(plain) is plain
    assert server.task(name="other", retries=1)(plain) is plain
    assert [t.name for t in server.registry] == ["plain", "other"]
    assert server.registry.get("other").policy.retries == 1
