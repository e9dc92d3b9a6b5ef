"""Writes a CSV file of about so many megabytes: `python -m examples.csv_profile.generate FILE MEGABYTES`.

The same size gives the same file. It has what a real one has: gaps, quoted commas and
line ends, a column of many and one of few different values.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

__all__ = ["COLUMNS", "write_csv"]

COLUMNS = ("id", "customer", "country", "amount", "quantity", "active", "ordered", "note")

_COUNTRIES = ("DE", "FR", "IT", "JP", "US", "BR", "")
_NOTES = ("", "", "n/a", "in time", '"late, as ever"', '"first line\nsecond line"', '"they said ""soon"""')


def write_csv(path: Path, megabytes: float) -> int:
    """The number of rows written."""
    draw, size, rows = random.Random(7), int(megabytes * 1_000_000), 0
    with path.open("w", newline="") as file:
        written = file.write(",".join(COLUMNS) + "\n")
        while written < size:
            some = [_row(rows + number, draw.random()) for number in range(1000)]
            written += file.write("".join(some))
            rows += len(some)
    return rows


def _row(number: int, chance: float) -> str:
    share = int(chance * 1_000_000)
    amount = "" if share % 50 == 0 else f"{share / 100:.2f}"
    ordered = f"20{share % 25:02}-{share % 12 + 1:02}-{share % 28 + 1:02}"
    active = "true" if share % 3 else "false"
    country, note = _COUNTRIES[share % 7], _NOTES[share // 7 % 7]
    return f"{number},customer {share},{country},{amount},{share % 97},{active},{ordered},{note}\n"


if __name__ == "__main__":
    print(f"{write_csv(Path(sys.argv[1]), float(sys.argv[2]))} rows")
