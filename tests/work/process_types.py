"""Functions for tasks that run in a process: found again by module and name, so at the top level of a module."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel

from mcp_server import SyncTaskContext, TaskError

tasks_seen = 0
"""Counted up by `counts`; a process that was clean has seen none."""


class Confirm(BaseModel):
    sure: bool


def everything(text: str, *, task: SyncTaskContext) -> dict[str, Any]:
    """Uses every part of the context, and prints."""
    print("printed by the function")
    os.write(1, b"written to descriptor 1\n")
    sys.stderr.write("said on standard error\n")
    with task.stage("read", weight=50) as stage:
        stage.report(1, total=2, message=text)
    task.emit({"raw": b"\xff"}, topic="bytes")
    task.checkpoint({"page": 1})
    answer = task.ask("Sure?", Confirm)
    task.summary = "All done"
    return {"pid": os.getpid(), "attempt": task.attempt, "metadata": task.metadata, "sure": answer.sure, "set": {1}}


def reports_for_ever(*, task: SyncTaskContext) -> None:
    n = 0
    while True:
        n += 1
        task.report(message=str(n))


def never_reports(*, task: SyncTaskContext) -> None:
    """Says where it and the process it started are, and then nothing any more."""
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    task.emit([os.getpid(), sleeper.pid])
    while True:
        time.sleep(600)


def ends(how: str, *, task: SyncTaskContext) -> Any:
    """Ends in every way a process can."""
    match how:
        case "exit":
            sys.exit(3)
        case "os._exit":
            os._exit(7)
        case "killed":
            os.kill(os.getpid(), 9)
        case "base exception":
            raise KeyboardInterrupt
        case "exception":
            raise ValueError("secret")
        case "task error":
            raise TaskError("no such page", code="NO_PAGE", details={"page": 3})
        case "no json":
            return object()
        case "too large":
            return "x" * 2_000_000
        case "leaves a child":
            if os.fork() == 0:
                time.sleep(600)
            os._exit(7)
        case _:
            return how


def resumes(*, task: SyncTaskContext) -> list[Any]:
    if task.attempt == 1:
        task.checkpoint({"page": 4})
        raise TaskError("again")
    return [task.attempt, task.state]


def cleans_up(asks: bool, *, task: SyncTaskContext) -> None:
    """Says so when it was stopped, in a file: its task's log is closed by then."""
    try:
        task.emit(os.getcwd())
        while True:
            task.ask("Go on?") if asks else task.report(message="busy")
    finally:
        Path(f"cleaned up {asks}").touch()


def speaks_in_threads(*, task: SyncTaskContext) -> list[Any]:
    """Several threads wait for replies at once, one of them for an answer."""

    def store(number: int) -> int:
        for page in range(10):
            task.report(message=f"{number}/{page}")
            task.checkpoint({"number": number, "page": page})
        return number

    with ThreadPoolExecutor() as threads:
        asked: Future[Mapping[str, Any]] = threads.submit(task.ask, "Which?", key="page")
        stored = list(threads.map(store, range(4)))
        task.emit("stored")
        return [*stored, asked.result()]


def meets_limits(*, task: SyncTaskContext) -> list[str]:
    """What cannot be stored can be caught, and there is no standard input to wait for."""
    seen = [sys.stdin.read(), subprocess.check_output(["cat"], text=True)]
    for say in (task.emit, task.checkpoint, task.ask, lambda much: task.report(message=much)):
        try:
            say("x" * 2_000_000)
        except TaskError as error:
            seen.append(error.code)
    try:
        with ThreadPoolExecutor() as threads:
            for answer in [threads.submit(task.ask, "Which?", key="page", timeout=1, default={}) for _ in range(2)]:
                answer.result()
    except TaskError as error:
        seen.append(error.code)
    return seen


def counts(leave: str) -> dict[str, Any]:
    """Changes what it can of its own process, and says where it runs and what it found."""
    global tasks_seen
    tasks_seen += 1
    found = {"seen": tasks_seen, "left": os.environ.get("LEFT"), "parent": os.getppid(), "random": np.random.random()}
    os.environ["LEFT"] = leave
    os.chdir("/")
    return found


def allocates(megabytes: int) -> int:
    return len(bytearray(megabytes * 1024 * 1024))


def allocates_in_pieces() -> int:
    """Small objects, so that the memory is gone when the error is to be reported."""
    kept: list[Any] = []
    while True:
        kept.append([len(kept)])
