"""A profile by the shortest way: the whole file in memory, one column after the other."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Any

import pytest

__all__ = ["plain_profile"]

GAPS = ("", "n/a")
ERROR = 4 * 0.0313
"""Four standard errors of the estimate of how many values differ."""

TYPES = {
    "id": "integer",
    "customer": "text",
    "country": "text",
    "amount": "number",
    "quantity": "integer",
    "active": "boolean",
    "ordered": "date",
    "note": "text",
}


def plain_profile(path: Path) -> dict[str, Any]:
    """What `profile_csv` should say of a file of `generate.write_csv`, with the tolerances it has."""
    with path.open(newline="") as file:
        names, *rows = csv.reader(file)
    columns = [_column(name, [row[number] for row in rows]) for number, name in enumerate(names)]
    return {"rows": len(rows), "ragged_rows": 0, "bytes": path.stat().st_size, "columns": columns}


def _column(name: str, values: list[str]) -> dict[str, Any]:
    present = [value for value in values if value not in GAPS]
    different = dict.fromkeys(present)
    kind = TYPES[name]
    ranked: list[Any] = present if kind == "date" else [float(value) for value in present] if _numeric(kind) else [None]
    return {
        "name": name,
        "type": kind,
        "missing": len(values) - len(present),
        "distinct": len(different) if len(different) < 1024 else pytest.approx(len(different), rel=ERROR),
        "min": min(ranked),
        "max": max(ranked),
        "mean": pytest.approx(statistics.fmean(ranked), rel=1e-12) if _numeric(kind) else None,
        "examples": list(different)[:5],
    }


def _numeric(kind: str) -> bool:
    return kind in ("integer", "number")
