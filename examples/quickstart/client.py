"""Starts the task of `server.py`, watches it to its end, and exits non-zero unless all went well."""

from __future__ import annotations

import asyncio
import sys

from client_sdk import LongTaskClient, OutputEvent, ProgressEvent


async def main(*base_url: str) -> None:
    summaries: list[str] = []
    async with LongTaskClient(*base_url) as client:
        handle = await client.start("summarize", {"pages": 5})
        async for event in handle.events():
            if isinstance(event, ProgressEvent):
                print(f"{event.data.progress:3.0f} %  {event.data.message}")
            elif isinstance(event, OutputEvent):
                summaries.append(event.data.data)
        result = await handle.result()
    assert result == {"pages": 5}, result
    assert len(summaries) == 5, summaries
    print(f"completed: {result}")


asyncio.run(main(*sys.argv[1:]))
