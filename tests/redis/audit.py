"""Reads whole logs and says what is wrong with them: for crash tests and the soak."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from mcp_server.backends.redis import RedisBackend
from mcp_server.task import LIVE, TRANSITIONS, Event, Kind, Status

__all__ = ["audit"]

ENDS = {Kind.COMPLETED, Kind.FAILED, Kind.CANCELLED}


async def audit(url: str, task_ids: Sequence[str]) -> list[list[Event]]:
    """The logs of these tasks, which all are over, if they are sound.

    Sound: every task is there; numbers from 1 without a hole; one end, and it is the last;
    every event was possible where it stands and belongs to the attempt that ran there;
    no step of the work is missing, and none repeated but the one an attempt died in.
    """
    logs = []
    async with RedisBackend(url) as backend:
        for task_id in task_ids:
            task = await backend.load(task_id)
            assert task is not None, f"the acknowledged task {task_id} is missing"
            log: list[Event] = []
            while page := await backend.read(task_id, len(log), 1000):
                log += page
            assert task.status not in LIVE, f"{task_id} is {task.status}"
            assert task.last_event_id == len(log)
            _check(task_id, log)
            logs.append(log)
        fleet = await backend.fleet()
        assert not fleet.stalled
    return logs


def _check(task_id: str, log: Sequence[Event]) -> None:
    assert [event.number for event in log] == list(range(1, len(log) + 1)), f"{task_id} has holes"
    assert [event.number for event in log if event.kind in ENDS] == [len(log)], f"{task_id} has not one end"
    status: Status | None = None
    attempt = 0
    for event in log:
        reached = TRANSITIONS.get((status, event.kind))
        assert reached is not None, f"{task_id}: {event.kind} in {status}"
        attempt += event.kind is Kind.STARTED
        assert event.attempt == attempt, f"{task_id}: event {event.number} of attempt {event.attempt} in {attempt}"
        status = reached
    steps = [event.data["data"] for event in log if event.kind is Kind.OUTPUT]
    # An attempt that died between a step and its checkpoint does that step once more: at least once.
    again = sum(event.kind is Kind.STARTED for event in log) - 1
    repeats = 0
    for before, after in itertools.pairwise(steps):
        assert after - before in (0, 1), f"{task_id}: step {after} follows {before}"
        repeats += after == before
    assert repeats <= again, f"{task_id}: {repeats} steps repeated in {again} further attempts"
