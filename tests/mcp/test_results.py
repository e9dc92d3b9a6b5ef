"""Results and the output schemas that tools publish: the official client accepts every finished result."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import uuid
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import anyio
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, WrapSerializer, computed_field, model_serializer
from typing_extensions import TypedDict

from mcp_server.errors import TaskError
from mcp_server.registry import TaskType
from tests.server.servers import make_server

MANY = 10_000_000


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


class Page(BaseModel):
    number: int = Field(serialization_alias="pageNumber")
    ratio: float = 1.0
    raw: bytes = b""
    more: Any = None

    @computed_field
    def double(self) -> int:
        return 2 * self.number


class Timed(BaseModel):
    model_config = ConfigDict(ser_json_timedelta="float", ser_json_inf_nan="strings", ser_json_bytes="hex")
    after: dt.timedelta
    ratio: float
    raw: bytes


class Finite(BaseModel, allow_inf_nan=False):
    ratio: float


class Constants(BaseModel, ser_json_inf_nan="constants"):
    ratio: float


class Upside(BaseModel):
    name: str

    @model_serializer
    def reversed(self):  # type: ignore[no-untyped-def]
        return [self.name[::-1]]


Loud = Annotated[int, PlainSerializer(lambda n: f"{n}!")]
LoudInJson = Annotated[int, PlainSerializer(lambda n: f"{n}!", return_type=str, when_used="json")]
LoudUnlessNone = Annotated[
    int | None, PlainSerializer(lambda n: f"{n}!", return_type=str, when_used="json-unless-none")
]
Wrapped = Annotated[int, WrapSerializer(lambda n, handler: {"n": handler(n)})]


@dataclasses.dataclass
class Point:
    x: float
    name: LoudInJson = 0


class Entry(TypedDict, total=False):
    size: Loud
    seen: dt.datetime


class Node(BaseModel):
    value: float
    children: list[Node] = []


class Pair(NamedTuple):
    a: float
    b: str


numbers = st.floats(allow_nan=True, allow_infinity=True)
small = st.integers(-5, 5)
untyped = st.recursive(
    numbers | st.binary(max_size=3) | st.text(max_size=3) | st.dates() | st.none() | st.just(np.float64(0.5)),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
nodes: st.SearchStrategy[Node] = st.deferred(
    lambda: st.builds(Node, value=numbers, children=st.lists(nodes, max_size=1))
)

RETURNS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (float, numbers | small | st.just(np.float32(0.5))),
    (dict[str, float], st.dictionaries(st.text(max_size=3), numbers, max_size=3)),
    (dict[int, float], st.dictionaries(small, numbers, max_size=3)),
    (list[float], st.lists(numbers, max_size=3) | st.just(np.array([1.0, np.nan]))),
    (float | None, numbers | st.none()),
    (Annotated[float, Field(ge=0)], st.just(math.inf) | st.floats(0, 5)),
    (int, small | st.just(np.int64(7)) | st.booleans()),
    (decimal.Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary(max_size=5)),
    (list[bytes], st.lists(st.binary(max_size=5), max_size=2)),
    (dict[str, Any], st.dictionaries(st.text(max_size=3), untyped, max_size=3)),
    (dict, st.dictionaries(st.text(max_size=3), untyped, max_size=3)),
    (list, st.lists(untyped, max_size=3)),
    (set[Colour], st.sets(st.sampled_from(Colour))),
    (tuple[int, *tuple[float, ...]], st.tuples(small, numbers)),
    (Literal["a", 1], st.sampled_from(["a", 1])),
    (dt.timedelta | dt.date | uuid.UUID, st.timedeltas() | st.dates() | st.uuids()),
    (str, st.text(max_size=5)),
    (Page, st.builds(Page, number=small, ratio=numbers, raw=st.binary(max_size=3), more=untyped)),
    (list[Page | None], st.lists(st.builds(Page, number=small, ratio=numbers) | st.none(), max_size=2)),
    (Timed, st.builds(Timed, after=st.timedeltas(), ratio=numbers, raw=st.binary(max_size=3))),
    (Finite, st.builds(Finite, ratio=st.floats(allow_nan=False, allow_infinity=False))),
    (Constants, st.builds(Constants, ratio=numbers)),
    (Upside, st.builds(Upside, name=st.text(max_size=3))),
    (Loud, small),
    (LoudInJson, small),
    (LoudUnlessNone, small | st.none()),
    (Wrapped, small),
    (Point, st.builds(Point, x=numbers, name=small)),
    (dict[str, Point], st.dictionaries(st.text(max_size=2), st.builds(Point, x=numbers, name=small), max_size=2)),
    (Entry, st.fixed_dictionaries({}, optional={"size": small, "seen": st.datetimes()})),
    (Node, nodes),
    (Pair, st.builds(Pair, a=numbers, b=st.text(max_size=3))),
    (Page | Point, st.builds(Page, number=small) | st.builds(Point, x=numbers)),
]


def _returning(n: int, values: list[Any]) -> Callable[[], Any]:
    def returns() -> Any:
        return values[n]

    returns.__annotations__["return"] = RETURNS[n][0]
    returns.__name__ = f"returns_{n}"
    return returns


@settings(max_examples=5, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(values=st.tuples(*(strategy for _, strategy in RETURNS)))
def test_the_official_client_accepts_every_finished_result(
    values: tuple[Any, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a function declares and returns, the tool's answer fits the schema that the tool publishes."""
    server = make_server(tmp_path_factory.mktemp("results"))
    for n in range(len(RETURNS)):
        server.task(mode="never")(_returning(n, list(values)))

    async def call_all() -> None:
        async with Client(server) as client:
            await client.list_tools()
            for n in range(len(RETURNS)):
                result = await client.call_tool(f"returns_{n}", {})
                assert not result.is_error, (RETURNS[n][0], values[n], result.structured_content)

    anyio.run(call_all)


def _written(annotation: Any, value: Any) -> Any:
    def returns() -> Any: ...

    returns.__annotations__["return"] = annotation
    return TaskType.from_function(returns).to_json(value, MANY)


@pytest.mark.parametrize(
    ("annotation", "value", "written"),
    [
        (float, math.nan, None),
        (bytes, b"\xfb\xff", "+/8="),
        (dict[str, bytes], {"a": b"\xfb\xff"}, {"a": "+/8="}),
        (Page, Page(number=1, raw=b"\xfb", more=b"\xfb"), {
            "pageNumber": 1, "ratio": 1.0, "raw": "+w==", "more": "+w==", "double": 2,
        }),
        (Timed, Timed(after=dt.timedelta(seconds=2), ratio=math.nan, raw=b"\xfb"), {
            "after": 2.0, "ratio": "NaN", "raw": "fb",
        }),
        (Upside, Upside(name="ab"), ["ba"]),
        (Loud, 3, "3!"),
        (Point, Point(math.inf, 3), {"x": None, "name": "3!"}),
        (Entry, {"size": 3}, {"size": "3!"}),
        (list[float], np.array([1.0, np.nan]), [1.0, None]),
        (Any, Timed(after=dt.timedelta(seconds=2), ratio=1.0, raw=b""), {"after": 2.0, "ratio": 1.0, "raw": ""}),
        (Page, {"number": 3}, {"pageNumber": 3, "ratio": 1.0, "raw": "", "more": None, "double": 6}),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_the_authors_serializers_are_honoured(annotation: Any, value: Any, written: Any) -> None:
    """A model's settings and serializers decide; where they say nothing, the documented rules do."""
    assert _written(annotation, value) == written


@pytest.mark.parametrize(
    ("annotation", "value", "place"),
    [
        (int, "many", "result: Input should be a valid integer"),
        (dict[str, list[int]], {"a": [1, "x"]}, "result.a.1: Input should be a valid integer"),
        (Finite, {"ratio": math.nan}, "result.ratio: Input should be a finite number"),
        (Annotated[int, Field(le=3)], 4, "result: Input should be less than or equal to 3"),
    ],
    ids=str,
)
def test_a_result_that_does_not_fit_its_declared_type_names_the_place(annotation: Any, value: Any, place: str) -> None:
    """The failure is final, since a retry would return the same."""
    with pytest.raises(TaskError) as refused:
        _written(annotation, value)
    assert refused.value.message.startswith(f"The result does not fit its declared type: {place}")
    assert (refused.value.code, refused.value.retry) == ("INVALID_RESULT", False)


def test_a_part_without_a_json_form_is_named_by_its_place() -> None:
    """Also within a declared type."""
    with pytest.raises(TaskError, match=r"result\.a\[1\] is a <class 'object'>"):
        _written(dict[str, list[Any]], {"a": [1, object()]})
