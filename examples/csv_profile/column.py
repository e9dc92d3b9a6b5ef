"""What is known of one column so far: its type, gaps, range, mean, and how many values differ.

Takes values in slices, holds a bounded amount whatever comes, and goes through JSON
and back without a change, which is what a checkpoint needs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self

from .distinct import Distinct

__all__ = ["Column", "Type"]

Type = Literal["integer", "number", "boolean", "date", "text"]

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
BOOLEANS = frozenset({"true", "false", "yes", "no"})
EXAMPLES = 5
EXAMPLE_LENGTH = 60
"""Characters of an example; longer ones are cut."""

_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ][\d:.,]{1,20}(?:Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)

Value = tuple[Type, float | str | None]
"""The type of one value, and what it is ranked by."""


class Column:
    """The profile of one column, as it grows."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.present = 0
        self.missing = 0
        self._type: Type | None = None
        self._low: Any = None
        self._high: Any = None
        self._total = 0.0
        self._examples: list[str] = []
        self._distinct = Distinct()

    def add(self, values: Sequence[str], *, absent: int = 0) -> None:
        """Take the values of some more rows; `absent` rows ended before this column."""
        self.missing += absent
        terms = []
        # Equal values are looked at once: most columns have few different ones.
        for text, count in Counter(map(str.strip, values)).items():
            if text.casefold() in MISSING:
                self.missing += count
                continue
            self.present += count
            self._distinct.add(text)
            if len(self._examples) < EXAMPLES and text[:EXAMPLE_LENGTH] not in self._examples:
                self._examples.append(text[:EXAMPLE_LENGTH])
            if self._type != "text":
                kind, rank = _value(text)
                self._type = kind if self._type is None else _common(self._type, kind)
                if rank is not None and self._type != "text":
                    self._low = rank if self._low is None else min(self._low, rank)
                    self._high = rank if self._high is None else max(self._high, rank)
                    if not isinstance(rank, str):
                        terms.append(rank * count)
        self._total += math.fsum(terms)

    def profile(self) -> dict[str, Any]:
        """The column's part of the result. A column without values has no type; only numbers have a mean."""
        ranked = self._type in ("integer", "number", "date")
        return {
            "name": self.name,
            "type": self._type,
            "missing": self.missing,
            "distinct": self._distinct.estimate(),
            "min": self._low if ranked else None,
            "max": self._high if ranked else None,
            "mean": self._total / self.present if self._type in ("integer", "number") else None,
            "examples": list(self._examples),
        }

    def state(self) -> dict[str, Any]:
        """For `from_state`: everything, as JSON."""
        return {
            "name": self.name,
            "present": self.present,
            "missing": self.missing,
            "type": self._type,
            "low": self._low,
            "high": self._high,
            "total": self._total,
            "examples": list(self._examples),
            "distinct": self._distinct.state(),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        column = cls(state["name"])
        column.present, column.missing, column._type = state["present"], state["missing"], state["type"]
        column._low, column._high, column._total = state["low"], state["high"], state["total"]
        column._examples, column._distinct = list(state["examples"]), Distinct.from_state(state["distinct"])
        return column


def _common(one: Type, other: Type) -> Type:
    """The narrowest type that holds values of both."""
    if one == other:
        return one
    return "number" if {one, other} == {"integer", "number"} else "text"


def _value(text: str) -> Value:
    if _INTEGER.fullmatch(text):
        return "integer", int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(number := float(text)):
        return "number", number
    if text.casefold() in BOOLEANS:
        return "boolean", None
    if _DATE.fullmatch(text):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            return "text", None
        return "date", text  # ISO dates sort as text
    return "text", None
