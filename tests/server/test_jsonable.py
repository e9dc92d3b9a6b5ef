"""What authors return and emit, as JSON: what every common value becomes, and what is refused."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import math
import pathlib
import uuid
from collections import OrderedDict, deque, namedtuple
from types import SimpleNamespace
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, PlainSerializer

from mcp_server.errors import TaskError
from mcp_server.jsonable import to_json_text, to_jsonable, unicode_text

MANY = 10_000_000


@dataclasses.dataclass
class Point:
    x: float
    seen: dt.date


class Page(BaseModel):
    number: int = Field(alias="pageNumber")
    raw: bytes = b"\xff"


class Colour(enum.Enum):
    RED = "red"


class Slotted:
    __slots__ = ("_hidden", "x")

    def __init__(self, x: int) -> None:
        self.x, self._hidden = x, object()


class Timed(BaseModel, ser_json_timedelta="float"):
    after: dt.timedelta
    raw: bytes


@dataclasses.dataclass
class Loud:
    n: Annotated[int, PlainSerializer(lambda n: f"{n}!", when_used="json")]


Pair = namedtuple("Pair", "a b")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05Z"),
        (dt.date(2026, 1, 2), "2026-01-02"),
        (dt.timedelta(minutes=1), "PT1M"),
        (decimal.Decimal("1.10"), "1.10"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"\xfb\xff", "+/8="),
        (bytearray(b"a"), "YQ=="),
        (memoryview(b"a"), "YQ=="),
        ({3, 1, 2}, [1, 2, 3]),
        (frozenset({"b", "a"}), ["a", "b"]),
        ((1, (2,)), [1, [2]]),
        (Pair(1, 2), [1, 2]),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Point(1.5, dt.date(2026, 1, 2)), {"x": 1.5, "seen": "2026-01-02"}),
        (Page(pageNumber=3), {"pageNumber": 3, "raw": "/w=="}),
        (Colour.RED, "red"),
        (pathlib.Path("/a/b"), "/a/b"),
        (math.nan, None),
        (-math.inf, None),
        ({"deep": [{"in": math.inf}]}, {"deep": [{"in": None}]}),
        ({7: 1, None: 2, True: 3, 1.5: 4}, {"7": 1, "null": 2, "true": 3, "1.5": 4}),
        ({dt.date(2026, 1, 2): 1, b"k": 2}, {"2026-01-02": 1, "k": 2}),
        (10**30, 10**30),
        ((n for n in range(3)), [0, 1, 2]),
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (np.float64("nan"), None),
        (np.array([[1.0, np.nan], [np.inf, 2.0]]), [[1.0, None], [None, 2.0]]),
        ({"a": {np.int64(1)}}, {"a": [1]}),
        (np.datetime64("2026-01-02"), "2026-01-02"),
        ("a\ud800b", "a\ufffdb"),
        ({"\ud800": "\ud83d" + "\ude00"}, {"\ufffd": "\U0001f600"}),
        (range(3), [0, 1, 2]),
        ({"a": 1}.keys(), ["a"]),
        ({"a": 1}.items(), [["a", 1]]),
        (deque([1, math.nan]), [1, None]),
        ([(n for n in range(3)), math.nan], [[0, 1, 2], None]),
        (ValueError("no"), {"type": "ValueError", "message": "no"}),
        (SimpleNamespace(a=1, b=b"a"), {"a": 1, "b": "YQ=="}),
        (Slotted(1), {"x": 1}),
        (Timed(after=dt.timedelta(seconds=3), raw=b"\xfb"), {"after": 3.0, "raw": "+w=="}),
        ([Loud(3)], [{"n": "3!"}]),
        ("text\u2028with ü and \x00", "text\u2028with ü and \x00"),
    ],
    ids=lambda value: type(value).__name__,  # the same in every process, unlike an address
)
def test_a_common_value_has_one_json_form(value: Any, plain: Any) -> None:
    """Dates, decimals, bytes, sets, models, NaN, numpy: what the documentation says they become."""
    assert to_jsonable(value, "result", MANY) == plain


@pytest.mark.parametrize("value", [0, "", [], {}, False, None, 0.0])
def test_a_falsy_value_stays_itself(value: Any) -> None:
    """Nothing is turned into null for being empty."""
    cleaned = to_jsonable(value, "result", MANY)
    assert cleaned == value
    assert type(cleaned) is type(value)


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


def _nested(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


@pytest.mark.parametrize(
    "value",
    [object(), {"f": print}, _circle(), _nested(100_000), int, {1: "a", "1": "b"}, [1, {2: object()}]],
    ids=["object", "function", "circle", "depth", "class", "same keys", "inner object"],
)
def test_what_has_no_json_form_is_refused_with_its_name(value: Any) -> None:
    """The author learns which of their values it was; the failure is final, since a retry would return the same."""
    with pytest.raises(TaskError, match="The output event cannot be written as JSON") as refused:
        to_jsonable(value, "output event", MANY)
    assert (refused.value.code, refused.value.retry) == ("NOT_JSON", False)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"pages": [1, 2, 3, SimpleNamespace(image=object())]}, "result.pages[3].image is a <class 'object'>"),
        ([{1: print}], "result[0].1 is a <class 'builtin_function_or_method'>"),
        ({"a": {1: "x", "1": "y"}}, "two keys|result.a has two keys that are '1' in JSON"),
        ({"a": [{(1, 2): 3, 4: math.nan}, {dt.date: 1}]}, "a key of result.a[1] is a <class 'type'>"),
    ],
    ids=["object", "function", "same keys", "odd key"],
)
def test_the_place_of_a_value_without_a_form_is_named(value: Any, place: str) -> None:
    """An author finds the one value among thousands."""
    with pytest.raises(TaskError) as refused:
        to_jsonable(value, "result", MANY)
    assert any(part in refused.value.message for part in place.split("|"))


def test_an_endless_iterable_is_not_read_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """`itertools.count()` is an error, not a full memory."""
    monkeypatch.setattr("mcp_server.jsonable.MAX_ITEMS", 1000)
    with pytest.raises(TaskError, match="more than 1000 items"):
        to_jsonable({"n": itertools.count()}, "result", MANY)


def test_the_limit_is_on_the_json_and_says_both_sizes() -> None:
    """Twelve characters with their quotes are fourteen bytes."""
    assert to_jsonable("x" * 12, "result", 14) == "x" * 12
    with pytest.raises(TaskError, match="14 bytes as JSON; at most 13") as refused:
        to_jsonable("x" * 12, "result", 13)
    assert (refused.value.code, refused.value.details) == ("TOO_LARGE", {"bytes": 14, "max_bytes": 13})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@settings(deadline=None)  # a busy machine is no failure
@given(json_values)
def test_plain_data_stays_what_it_is(value: Any) -> None:
    """Cleaning twice changes nothing more, and every clean value can be written as text."""
    once = to_jsonable(value, "result", MANY)
    assert to_jsonable(once, "result", MANY) == once
    to_json_text(once)


@pytest.mark.parametrize(
    ("given", "kept"), [("ok", "ok"), ("a\ud800b", "a\ufffdb"), (ValueError("no"), "no"), (7, "7")]
)
def test_a_message_can_be_anything_that_has_a_text(given: object, kept: str) -> None:
    """Authors hand in exceptions and file names; what UTF-8 cannot hold is replaced."""
    assert unicode_text(given) == kept
