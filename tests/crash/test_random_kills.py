"""Servers are killed at random points, and nothing that was acknowledged or streamed is lost.

A point is a number of things that clients have seen: starts that were answered, frames
that arrived. The kill follows in the same step, while everything else goes on.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from tests.server.servers import Caller, Frame

from .audit import audited, check_witness
from .clients import Service
from .processes import PATIENCE, serving

APP = "tests.crash.application:server"
KILLS = 10
"""Per seed."""
STILLBORN = 0.3
"""Share of the lives that are killed within half a second of their start, many before they listen."""
UNFINISHED = 40
"""Tasks under way at once."""


class Killer:
    """Counts what is seen, and kills when it has been enough."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._left: int | None = None
        self.killed = anyio.Event()

    def arm(self, count: int) -> None:
        self._left, self.killed = count, anyio.Event()

    def see(self, _: object = None) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._left = None
                self._service.kill()
                self.killed.set()


def starting(chance: random.Random, key: str) -> tuple[int, Callable[[Caller], object]]:
    steps, task_type = chance.randint(1, 12), chance.choice(["count", "count_in_thread"])
    arguments = {"steps": steps, "pause": chance.choice([0.0, 0.01, 0.03])}
    return steps, lambda caller: caller.start(task_type, arguments, idempotency_key=key)


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_was_acknowledged_is_there_and_ends_after_every_kill(tmp_path: Path, seed: int) -> None:
    """Ten kills: no start is lost or doubled, readers see every number once, results are right."""
    chance = random.Random(seed)
    logs: dict[str, list[Frame]] = {}
    sums: dict[str, int] = {}
    over = anyio.Event()
    room = anyio.Semaphore(UNFINISHED)
    with serving(APP, tmp_path, concurrency=UNFINISHED) as (process,), anyio.fail_after(PATIENCE):
        async with Service(process) as service:
            killer = Killer(service)

            async def follow(task_id: str) -> None:
                logs[task_id] = await service.follow(task_id, killer.see)
                room.release()

            async def start_one_after_another(name: str) -> None:
                number = 0
                while not over.is_set():
                    await room.acquire()
                    number += 1
                    steps, request = starting(chance, f"{name}-{number}")
                    task_id = await service.ask(request)
                    assert task_id not in sums
                    sums[task_id] = steps * (steps + 1) // 2
                    clients.start_soon(follow, task_id)
                    killer.see()

            async with anyio.create_task_group() as clients:
                for starter in range(4):
                    clients.start_soon(start_one_after_another, f"starter-{starter}")
                for _ in range(KILLS):
                    if chance.random() < STILLBORN:
                        process.spawn()
                        await anyio.sleep(chance.uniform(0.0, 0.5))  # the point of the kill, not a wait for something
                        process.kill()
                        continue
                    await service.start()
                    killer.arm(chance.randint(1, 600))
                    await killer.killed.wait()
                over.set()
                last = await service.start()
            await check_end(last, logs, sums)
    check_witness(tmp_path)


async def check_end(caller: Caller, logs: dict[str, list[Frame]], sums: dict[str, int]) -> None:
    assert logs.keys() == sums.keys()
    for task_id, replayed in zip(logs, await audited(caller, list(logs)), strict=True):
        assert replayed == logs[task_id], "what was streamed live differs from what is in the log"
        reply = await caller.call("get_task_result", operation_id=task_id)
        assert reply["data"]["result"]["sum"] == sums[task_id]
