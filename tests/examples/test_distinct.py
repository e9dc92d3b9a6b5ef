"""The estimate of how many texts differ."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.csv_profile.distinct import KEPT, Distinct


@pytest.mark.parametrize("count", [0, 1, 17, KEPT - 1])
def test_few_different_texts_are_counted_exactly(count: int) -> None:
    """Below the size of the sample there is nothing to estimate, however often a text comes."""
    distinct = Distinct()
    for _ in range(3):
        distinct.add(f"text {number}" for number in range(count))
    assert distinct.estimate() == count


@pytest.mark.parametrize("count", [KEPT, 3000, 20_000, 100_000])
@pytest.mark.parametrize("column", ["id", "customer", "order"])
def test_many_different_texts_are_estimated_within_the_documented_error(column: str, count: int) -> None:
    """Twelve columns are all within four standard errors of the truth (the hashes are the same in every run)."""
    distinct = Distinct()
    distinct.add(f"{column} {number}" for number in range(count))
    assert distinct.estimate() == pytest.approx(count, rel=4 * 0.0313)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.text(max_size=3), max_size=50), st.integers(0, 99).map(random.Random))
def test_neither_order_nor_repetition_nor_storage_changes_the_estimate(texts: list[str], draw: random.Random) -> None:
    """The estimate depends on the set of texts alone, also when it went through a checkpoint halfway."""
    many = [*texts, *(f"text {number}" for number in range(2000))]
    whole = Distinct()
    whole.add(set(many))
    draw.shuffle(many)
    half = Distinct()
    half.add(many[:1000])
    resumed = Distinct.from_state(json.loads(json.dumps(half.state())))
    resumed.add(many[500:])
    assert resumed.estimate() == whole.estimate()
    assert resumed.state() == whole.state()
