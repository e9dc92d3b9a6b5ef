"""A server that claims two tasks, says so, and does nothing more: a test kills it.

Run as `python -m tests.contract.victim KIND ADDRESS LEASE`.
"""

from __future__ import annotations

import sys

import anyio

from mcp_server.backend import Limits
from mcp_server.task import Kind

from .stores import Store
from .tasks import TYPE, move


async def main(kind: str, address: str, lease: float) -> None:
    started: list[str] = []
    async with Store(kind, address).open(lease=lease) as backend:

        async def hold(task_id: str) -> None:
            task = await backend.load(task_id)
            assert task is not None
            # One of the two is left as it was claimed, the other in the middle of its work.
            if not started:
                started.append(task_id)
                await move(backend, task, Kind.STARTED)
            print(task_id, flush=True)
            await anyio.sleep_forever()

        await backend.serve(hold, Limits(total=2, types={TYPE: None}))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], sys.argv[2], float(sys.argv[3]))
