"""What must hold for a task whatever happened to the processes that ran it.

Judges what a reader saw and what attempts did; knows no server.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.server.serving import Frame

__all__ = ["ENDS", "attempts", "check_log", "check_witness", "outputs", "witness"]

ENDS = {"done", "error"}


def check_log(frames: Sequence[Frame]) -> None:
    """The durable frames of a task that is over: each number once and in order, one end, attempts one after another."""
    assert [frame.id for frame in frames] == list(range(1, len(frames) + 1))
    assert [frame.id for frame in frames if frame.event in ENDS] == [len(frames)]
    assert attempts(frames) == list(range(1, len(attempts(frames)) + 1))
    attempt, pids = 0, dict[int, int]()
    for frame in frames:
        if frame.event == "status":
            attempt += frame.data["reason"] == "started"
            assert frame.data["attempt"] == attempt
        elif frame.event == "output":
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


def check_witness(folder: Path) -> None:
    """No attempt has run twice, and none did anything after the next one had begun."""
    latest: dict[str, tuple[int, int]] = {}
    for line in witness(folder):
        attempt, pid = latest.get(line["task"], (0, 0))
        assert line["attempt"] >= attempt, f"attempt {line['attempt']} goes on after attempt {attempt} has begun"
        assert line["attempt"] > attempt or line["pid"] == pid, f"attempt {attempt} runs in two processes"
        if line["attempt"] > attempt:
            assert "first" in line or "step" not in line
        elif "first" in line:
            raise AssertionError(f"attempt {attempt} has begun twice")
        latest[line["task"]] = (line["attempt"], line["pid"])
