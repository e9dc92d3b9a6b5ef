"""`kill -9` of real processes: what was acknowledged is there, and every log is whole."""

from __future__ import annotations

import random
import sys
from pathlib import Path

import anyio
import pytest
from anyio.streams.text import TextReceiveStream

from mcp_server.backends.sqlite import SQLiteBackend

ROOT = Path(__file__).parents[2]

WRITER = """
import os, sys
import anyio
from mcp_server.backends.sqlite import SQLiteBackend
from mcp_server.task import Kind
from tests.contract.tasks import create, move

async def main():
    async with SQLiteBackend(sys.argv[1]) as backend, anyio.create_task_group() as writers:

        async def write():
            while True:
                task = await create(backend, arguments={"text": "x" * 3000})
                os.write(1, f"{task.id} 1\\n".encode())
                task = await move(backend, task, Kind.STARTED)
                for _ in range(3):
                    task = await move(backend, task, Kind.PROGRESS, Kind.OUTPUT)
                    os.write(1, f"{task.id} {task.last_event_id}\\n".encode())

        for _ in range(8):
            writers.start_soon(write)

anyio.run(main)
"""


@pytest.mark.parametrize("seed", range(4))
async def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, seed: int) -> None:
    """Eight writers are killed at a random point: all that they said was acknowledged is there, no log has a hole."""
    path = tmp_path / "tasks.db"
    chance = random.Random(seed)
    said = ""
    async with await anyio.open_process([sys.executable, "-c", WRITER, str(path)], cwd=ROOT, stderr=None) as process:
        assert process.stdout is not None
        lines = TextReceiveStream(process.stdout)
        enough = chance.randint(1, 300)
        with anyio.fail_after(60):
            while said.count("\n") < enough:
                said += await lines.receive()
            process.kill()
            async for more in lines:
                said += more
    acknowledged = {task_id: int(number) for task_id, number in (line.split() for line in said.splitlines())}
    assert acknowledged
    async with SQLiteBackend(path) as backend:
        for task_id, number in acknowledged.items():
            task = await backend.load(task_id)
            assert task is not None
            assert task.last_event_id >= number
            log = await backend.read(task_id, 0, 100)
            assert [event.number for event in log] == list(range(1, task.last_event_id + 1))
