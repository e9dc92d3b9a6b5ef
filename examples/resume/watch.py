"""Takes up the tasks of its journal, or starts one, and follows them to their ends; may be killed at any time.

Usage: watch.py [BASE_URL [JOURNAL]]
"""

from __future__ import annotations

import asyncio
import sys

from client_sdk import ErrorEvent, LongTaskClient, TaskHandle
from client_sdk.wire import DEFAULT_BASE_URL


async def follow(handle: TaskHandle) -> bool:
    """Write a line for every event; True if the task went well."""
    async for event in handle.events():
        # Asking for the next event is what tells the journal that this line was written.
        print(f"{handle.id[:8]} {event.number or '-'} {type(event).__name__}", flush=True)
    return not isinstance(event, ErrorEvent)


async def main(base_url: str = DEFAULT_BASE_URL, journal: str = "tasks.json") -> int:
    async with LongTaskClient(base_url, journal=journal) as client:
        handles = await client.resume_all()
        if handles:
            print(f"going on with {len(handles)} after event {handles[0].cursor}", flush=True)
        else:
            handles = [await client.start("data_analysis", {"duration_seconds": 5, "steps": 25})]
        went_well = await asyncio.gather(*map(follow, handles))
    return 0 if all(went_well) else 1


sys.exit(asyncio.run(main(*sys.argv[1:])))
