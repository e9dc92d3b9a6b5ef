"""What is said of one column."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.csv_profile.column import Column

VALUES = st.one_of(
    st.sampled_from(["", "NA", "true", "2024-02-29", "2024-02-30", "7", "-7", "1.5", "1e400", "x", "\u0663"]),
    st.integers().map(str),
    # Their sum must be a number too: what JSON cannot hold is no state.
    st.floats(-1e300, 1e300).map(str),
    st.sampled_from(["nan", "inf", "-inf"]),
    st.text(max_size=4),
)


def profile(*values: str) -> dict[str, Any]:
    column = Column("c")
    column.add(values)
    return column.profile()


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "-20", "+3"], "integer"),
        (["1", "2.5"], "number"),
        ([".5", "1e3", "7."], "number"),
        (["9" * 30], "number"),
        (["yes", "No", "TRUE"], "boolean"),
        (["2024-02-29", "2024-03-01T10:00:00Z", "2024-03-01 10:00"], "date"),
        (["2023-02-29"], "text"),
        (["1", "x"], "text"),
        (["1", "true"], "text"),
        (["2024-02-29", "7"], "text"),
        (["1e999"], "text"),
        (["\u0663"], "text"),  # a digit, but none of a number as programs write them
        (["1_000"], "text"),
        (["", "n/a", "NULL", "NaN"], None),
    ],
)
def test_the_type_is_the_narrowest_that_holds_all_values(values: list[str], kind: str | None) -> None:
    """In one slice or in several, in either order."""
    assert profile(*values)["type"] == kind
    for order in (values, values[::-1]):
        column = Column("c")
        for value in order:
            column.add([value, ""])
        assert column.profile()["type"] == kind


def test_numbers_have_a_range_and_a_mean_and_gaps_are_left_out() -> None:
    """Spaces around a value are no part of it, and equal values weigh as often as they come."""
    shown = profile("3", " 1 ", "", "n/a", "1", "1.5")
    assert shown == {
        "name": "c",
        "type": "number",
        "missing": 2,
        "distinct": 3,
        "min": 1.0,
        "max": 3.0,
        "mean": 1.625,
        "examples": ["3", "1", "1.5"],
    }


def test_dates_have_a_range_and_no_mean() -> None:
    """Minimum and maximum are given as they stand in the file."""
    shown = profile("2024-03-01", "2023-12-31", "2024-01-01")
    assert (shown["min"], shown["max"], shown["mean"]) == ("2023-12-31", "2024-03-01", None)


def test_examples_are_the_first_different_values_and_cut() -> None:
    """Five at most, none longer than sixty characters, also over several slices."""
    column = Column("c")
    column.add(["b", "a", "b", "x" * 100])
    column.add(["a", "c", "d", "e"])
    assert column.profile()["examples"] == ["b", "a", "x" * 60, "c", "d"]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.lists(VALUES, max_size=6), max_size=6))
def test_a_column_that_went_through_a_checkpoint_goes_on_as_if_it_had_not(slices: list[list[str]]) -> None:
    """State, as JSON, is all there is to a column: to the last digit of its mean."""
    going, resumed = Column("c"), Column("c")
    for values in slices:
        going.add(values, absent=1)
        resumed.add(values, absent=1)
        resumed = Column.from_state(json.loads(json.dumps(resumed.state(), allow_nan=False)))
    assert resumed.profile() == going.profile()
    values = [value for some in slices for value in some]
    assert going.present + going.missing == len(values) + len(slices)
