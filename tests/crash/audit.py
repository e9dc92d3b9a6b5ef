"""What must hold for a task whatever happened to the processes that ran it, on one machine or in a fleet.

Judges what a reader saw and what attempts did; knows neither processes nor backends.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.server.servers import Caller, Frame

__all__ = ["ENDS", "attempts", "audited", "check_log", "check_witness", "outputs", "witness"]

ENDS = {"done", "error"}


async def audited(caller: Caller, task_ids: Sequence[str]) -> list[list[Frame]]:
    """The logs of these tasks, waited for to their end: each is sound, and the server counts no other task."""
    logs = [[frame for frame in await caller.frames(task_id) if frame.id is not None] for task_id in task_ids]
    for task_id, log in zip(task_ids, logs, strict=True):
        check_log(log)
        assert (await caller.snapshot(task_id))["last_event_id"] == len(log)
    counted = (await caller.http.get("/health")).json()["tasks"]
    ends = Counter(log[-1].data["status"] for log in logs)
    assert {status: count for status, count in counted.items() if count} == ends
    return logs


def check_log(frames: Sequence[Frame]) -> None:
    """The durable frames of a task that is over: each number once and in order, one end, attempts one after another."""
    assert [frame.id for frame in frames] == list(range(1, len(frames) + 1))
    assert [frame.id for frame in frames if frame.event in ENDS] == [len(frames)]
    attempt, runs, pids = 0, False, dict[int, int]()
    for frame in frames:
        match frame.event, frame.data.get("reason"):
            case "status", "started":
                assert not runs, f"attempt {attempt + 1} starts while attempt {attempt} runs"
                attempt, runs = attempt + 1, True
            case "status", "retrying":
                runs = False
            case "progress" | "output", _:
                assert runs, f"event {frame.id}: nobody runs the task"
        if frame.event == "status":
            assert frame.data["attempt"] == attempt
        if frame.event == "output":
            said = frame.data["data"]
            assert said["attempt"] == attempt, "an attempt goes on that was taken over"
            assert pids.setdefault(attempt, said["pid"]) == said["pid"], "two processes run one attempt"
    steps = [said["step"] for said in outputs(frames)]
    repeats = 0
    for before, after in itertools.pairwise(steps):
        assert after - before in (0, 1), f"step {after} follows {before}"
        repeats += after == before
    # An attempt that dies between a step and its checkpoint has it done once more: at least once.
    assert repeats <= len(attempts(frames)) - 1


def attempts(frames: Sequence[Frame]) -> list[int]:
    """The numbers of the attempts that were started."""
    return [f.data["attempt"] for f in frames if f.event == "status" and f.data["reason"] == "started"]


def outputs(frames: Sequence[Frame]) -> list[Any]:
    return [frame.data["data"] for frame in frames if frame.event == "output"]


def witness(folder: Path) -> list[dict[str, Any]]:
    """What attempts have written as they did it, in the order in which they did."""
    file = folder / "witness.jsonl"
    if not file.exists():
        return []
    # A process that is killed may leave the end of its line unwritten.
    return [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]


def check_witness(folder: Path, late: int = 0) -> None:
    """No attempt has run twice, and none did anything after the next one had begun.

    Args:
        late: things an attempt may have done by then. A process that was frozen past its lease
            does something before it learns that it was taken for dead; its log does not have it.
    """
    latest: dict[str, tuple[int, int]] = {}
    done_late = Counter[tuple[str, int]]()
    for line in witness(folder):
        attempt, pid = latest.get(line["task"], (0, 0))
        if line["attempt"] < attempt:
            done_late[line["task"], line["attempt"]] += 1
            assert done_late[line["task"], line["attempt"]] <= late, f"attempt {line['attempt']} goes on: {line}"
            continue
        assert line["attempt"] > attempt or line["pid"] == pid, f"attempt {attempt} runs in two processes"
        if line["attempt"] > attempt:
            assert "first" in line or "step" not in line
        elif "first" in line:
            raise AssertionError(f"attempt {attempt} has begun twice")
        latest[line["task"]] = (line["attempt"], line["pid"])
