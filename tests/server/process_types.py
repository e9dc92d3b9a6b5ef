"""Functions for tasks that run in a process: found again by module and name, so at the top level of a module."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Any

from pydantic import BaseModel

from mcp_server import SyncTaskContext, TaskError


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
