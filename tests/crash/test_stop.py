"""A server that is told to stop: at once, without a false end, and with its work left for the next."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from .audit import ENDS, attempts, check_log, check_witness, outputs
from .clients import Service, asks, result, says, until
from .processes import ServerProcess, serving

APP = "tests.crash.application:server"
SOON = 5.0
"""Seconds from the signal to the end of the process, on a machine that is busy with other things."""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    # A lease that no test lives to see the end of: what is taken up again was given back.
    with serving(APP, tmp_path, lease=600.0) as (process,):
        yield process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_server_leaves_its_tasks_to_the_next(
    process: ServerProcess, tmp_path: Path, number: signal.Signals
) -> None:
    """With running tasks and open streams it is gone in seconds; the next one goes on from the checkpoints at once."""
    async with Service(process) as service:
        caller = await service.start()
        running = {await caller.start("count", {"steps": 10, "hold_at": step}): step for step in (3, 6, 9)}
        seen: list[str] = []
        caught_up = [anyio.Event() for _ in range(15)]

        async def read(task_id: str, reached: anyio.Event) -> None:
            async with caller.stream(task_id) as stream:
                async for frame in stream:
                    seen.append(frame.event)
                    if says(running[task_id] - 1)(frame):
                        reached.set()

        async with anyio.create_task_group() as readers:
            for task_id, reached in zip([*running] * 5, caught_up, strict=True):
                readers.start_soon(read, task_id, reached)
            for reached in caught_up:
                await reached.wait()
            process.signal(number)
            told = time.monotonic()
        code = await process.ended()
        assert code == 0, process.log
        assert time.monotonic() - told < SOON
        assert not ENDS & set(seen)
        service.down()
        caller = await service.start()
        for task_id, step in running.items():
            frames = await service.follow(task_id)
            check_log(frames)
            assert attempts(frames) == [1, 2]
            assert [said["step"] for said in outputs(frames)] == list(range(1, 11))
            assert (await result(caller, task_id))["result"] == {"sum": 55, "first": step, "attempt": 2}
    check_witness(tmp_path)


async def test_stopping_does_not_count_against_a_task(process: ServerProcess) -> None:
    """A task with `max_attempts=3` is given back as often as servers are stopped."""
    async with Service(process) as service:
        caller = await service.start()
        task_id = await caller.start("interview")
        for life in range(1, 6):
            await until(caller, task_id, asks("first", life))
            assert (await caller.snapshot(task_id))["status"] == "input_required"
            assert (await caller.snapshot(task_id))["attempt"] == life
            process.signal(signal.SIGTERM)
            code = await process.ended()
            assert code == 0, process.log
            service.down()
            caller = await service.start()


async def test_a_stop_ends_what_does_not_listen(process: ServerProcess) -> None:
    """A thread that hears nothing does not hold the process up; its task goes on in the next one."""
    async with Service(process) as service:
        caller = await service.start()
        task_id = await caller.start("deaf")
        await until(caller, task_id, lambda frame: frame.event == "progress")
        process.signal(signal.SIGTERM)
        told = time.monotonic()
        code = await process.ended()
        assert code == 0, process.log
        assert time.monotonic() - told < SOON
        service.down()
        caller = await service.start()
        again = await until(caller, task_id, lambda f: f.event == "status" and f.data["attempt"] == 2)
        assert again.data["reason"] == "started"
