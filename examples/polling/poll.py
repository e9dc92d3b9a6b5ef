"""Follows tasks without a stream; exits non-zero unless all went well."""

from __future__ import annotations

import asyncio
import sys

from client_sdk import LongTaskClient, NotReady
from client_sdk.wire import Snapshot


def show(snapshot: Snapshot) -> None:
    print(f"{snapshot.progress:.0f}% - {snapshot.message} [{snapshot.status.value}]")


async def main(*base_url: str) -> None:
    async with LongTaskClient(*base_url) as client:
        print("Few requests: the server answers when the task is over.")
        handle = await client.start("data_processing", {"duration_seconds": 1, "steps": 3})
        try:
            await handle.result(timeout=0.2)
        except NotReady as error:
            print(f"not ready: {error}")
        assert await handle.result() == {"task_type": "data_processing", "steps": 3, "duration_seconds": 1}

        print("With a callback: the server answers when something changed.")
        handle = await client.start("data_processing", {"duration_seconds": 2, "steps": 2})
        snapshot = await handle.poll(callback=show)
        assert snapshot.status == "completed", snapshot

        print("At a fixed interval: the server answers at once.")
        handle = await client.start("data_processing", {"duration_seconds": 1, "steps": 3})
        snapshot = await handle.poll(interval=0.25, callback=show)
        assert snapshot.status == "completed", snapshot


asyncio.run(main(*sys.argv[1:]))
