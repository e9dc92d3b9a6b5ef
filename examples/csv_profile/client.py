"""Profiles a small CSV file, shows its progress, and exits non-zero unless the profile is right."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

from client_sdk import LongTaskClient

CSV = """\
city,inhabitants,founded
"Freiburg, Breisgau",236140,1120-01-01
Basel,173863,
Colmar,67730,1226-05-03
"""


async def main(*base_url: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cities.csv"
        path.write_text(CSV)
        async with LongTaskClient(*base_url) as client:
            handle = await client.start("profile_csv", {"path": str(path)})
            await handle.show()
            profile = await handle.result()
    for column in profile["columns"]:
        print(f"{column['name']}: {column['type']}, {column['missing']} missing, {column['min']} to {column['max']}")
    city, inhabitants, founded = profile["columns"]
    assert profile["rows"] == 3, profile
    assert city["examples"][0] == "Freiburg, Breisgau", city
    assert (inhabitants["type"], inhabitants["max"]) == ("integer", 236140), inhabitants
    assert (founded["type"], founded["missing"], founded["min"]) == ("date", 1, "1120-01-01"), founded


asyncio.run(main(*sys.argv[1:]))
