"""What is known of one column so far: its type, gaps, range, mean, and how many values differ.

Takes values in slices, holds a bounded amount whatever comes, and goes through JSON
and back without a change, which is what a checkpoint needs.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import mul
from typing import Any, Literal, Self

from .distinct import Distinct

__all__ = ["Column", "Type"]

Type = Literal["integer", "number", "boolean", "date", "text"]

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
EXAMPLES = 5
EXAMPLE_LENGTH = 60
"""Characters of an example; longer ones are cut."""

_PATTERNS: tuple[tuple[Type, re.Pattern[str]], ...] = (
    ("integer", re.compile(r"[+-]?\d{1,18}", re.ASCII)),
    ("number", re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)),
    ("boolean", re.compile(r"true|false|yes|no", re.IGNORECASE)),
    ("date", re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ][\d:.,]{1,20}(?:Z|[+-]\d{2}:?\d{2})?)?", re.ASCII)),
)


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
        # Equal values are looked at once: most columns have few different ones.
        counts = Counter(map(str.strip, values))
        gaps = [text for text in counts if len(text) <= 4 and text.casefold() in MISSING]
        missing = sum(counts.pop(text) for text in gaps)
        self.missing += missing + absent
        self.present += len(values) - missing
        if not counts:
            return
        self._distinct.add(counts)
        if len(self._examples) < EXAMPLES:
            shown = dict.fromkeys([*self._examples, *(text[:EXAMPLE_LENGTH] for text in counts)])
            self._examples = list(shown)[:EXAMPLES]
        self._rank(counts)

    def _rank(self, counts: Mapping[str, int]) -> None:
        """Widen the type to that of some more texts, and the range by them."""
        if self._type == "text":
            return
        kind, ranks = _ranked(counts.keys())
        self._type = kind if self._type is None else _common(self._type, kind)
        if self._type == "text" or not ranks:
            return
        self._low = min(ranks) if self._low is None else min(self._low, min(ranks))
        self._high = max(ranks) if self._high is None else max(self._high, max(ranks))
        if self._type != "date":
            self._total += math.fsum(map(mul, ranks, counts.values()))

    def profile(self) -> dict[str, Any]:
        """The column's part of the result. A column without values has no type; only numbers have a mean."""
        is_numeric = self._type in ("integer", "number")
        low, high = (float(self._low), float(self._high)) if self._type == "number" else (self._low, self._high)
        return {
            "name": self.name,
            "type": self._type,
            "missing": self.missing,
            "distinct": self._distinct.estimate(),
            "min": low if is_numeric or self._type == "date" else None,
            "max": high if is_numeric or self._type == "date" else None,
            "mean": self._total / self.present if is_numeric else None,
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


def _ranked(texts: Collection[str]) -> tuple[Type, list[Any]]:
    """The narrowest type that holds all of them, and what they are ordered by: numbers, or texts for dates."""
    kind = next((kind for kind, pattern in _PATTERNS if all(map(pattern.fullmatch, texts))), "text")
    match kind:
        case "integer":
            return kind, list(map(int, texts))
        case "number":
            numbers = list(map(float, texts))
            return (kind, numbers) if all(map(math.isfinite, numbers)) else ("text", [])
        case "date" if _are_dates(texts):
            return kind, list(texts)  # ISO dates sort as text
        case "boolean":
            return kind, []
    return "text", []


def _are_dates(texts: Collection[str]) -> bool:
    try:
        for text in texts:
            datetime.fromisoformat(text)
    except ValueError:
        return False
    return True
