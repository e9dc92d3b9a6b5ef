"""A script of one file: its task function is in `__main__`, as in a first try at a prompt."""

from __future__ import annotations

import sys

import anyio

from mcp_server import LongTaskServer, Settings, SyncTaskContext
from mcp_server.access.principal import ANONYMOUS

server = LongTaskServer("script", settings=Settings(backend=f"sqlite:///{sys.argv[1]}"))


@server.task(process=True)
def twice(n: int, *, task: SyncTaskContext) -> int:
    """Doubles a number in a process of its own."""
    print("in the process:", __name__)
    task.report(1, total=1)
    return 2 * n


async def main() -> None:
    async with server.running():
        task = await server.engine.start("twice", {"n": 21}, principal=ANONYMOUS)
        task = await server.engine.wait(task, 60)
        print("result:", task.output, task.error)


if __name__ == "__main__":
    anyio.run(main)
