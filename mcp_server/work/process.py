"""Runs a task function in a process of its own: the server's side of it.

The two sides speak lines of JSON (`pipe.py`). A process is killed, with all that it
started, when its function does not stop in time; when this server dies, the process
sees its input end and exits.
"""

from __future__ import annotations

import inspect
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import anyio
from anyio.abc import TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from ..channel import Channel
from ..context import TaskCancelled, TaskInfo
from ..errors import TaskError
from ..jsonable import to_json_bytes
from ..registry import TaskType
from .forking import Child, Children
from .pipe import from_json
from .raised import as_dict

__all__ = ["run_in_process"]

MIB = 1024 * 1024
EXIT_SECONDS = 1.0
"""Seconds a process may take to exit once its function has ended."""


async def run_in_process(
    children: Children,
    task_type: TaskType,
    arguments: Mapping[str, Any],
    info: TaskInfo,
    channel: Channel,
    stopping: anyio.Event,
) -> tuple[Any, str | None]:
    """Run in a process of its own (`process_child.py`); the function's result and its summary.

    The function is found again by module and name, so it must be at the top level of a module.
    """
    function = {
        "path": sys.path,
        "argv": sys.argv,
        "module": task_type.function.__module__,
        "file": inspect.getsourcefile(task_type.function),
        "function": task_type.function.__qualname__,
        "type": task_type.name,
    }
    order = {
        "function": function,
        "arguments": arguments,
        "environ": dict(os.environ),
        "cwd": os.getcwd(),
        "memory": task_type.policy.memory,
        "max_bytes": channel.max_bytes,
        "info": asdict(info),
    }
    process = await children.start(function)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_on_stop, process, stopping)
            lines = _Lines(process, max_bytes=2 * channel.max_bytes + MIB)
            tasks.start_soon(lines.end_with_the_process)
            await _send(process, order)
            end = await _converse(process, lines, channel, tasks)
            tasks.cancel_scope.cancel()
        # It has said its last word. To kill a process that is ending by itself can lose its exit code.
        with anyio.move_on_after(EXIT_SECONDS):
            await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                _kill(process)
            await process.aclose()
    return _result(end, process.returncode)


async def _converse(process: Child, lines: _Lines, channel: Channel, tasks: TaskGroup) -> dict[str, Any] | None:
    """Pass the lines of the process on; the last one, which tells how its function ended, or None without it."""
    while (line := await lines.next()) is not None:
        message = json.loads(line)
        match message["do"]:
            case "tell":
                # `_pass_on_stop` tells the process to stop; it cleans up and then sends `stopped`.
                with suppress(TaskCancelled):
                    await channel.tell(from_json(message), len(line))
            case "request":
                # Beside the rest: its other threads go on while one waits for a reply.
                tasks.start_soon(_reply, process, channel, message, len(line))
            case _:
                return dict(message)
    return None


async def _reply(process: Child, channel: Channel, message: Mapping[str, Any], size: int) -> None:
    with suppress(TaskCancelled):
        try:
            reply = {"reply": await channel.request(from_json(message), size)}
        except TaskError as error:
            reply = {"error": as_dict(error)}
        await _send(process, {"to": message["number"], **reply})


class _Lines:
    """The lines that the process writes."""

    def __init__(self, process: Child, max_bytes: int) -> None:
        assert process.stdout is not None
        self._process, self._stream, self._max_bytes = process, BufferedByteReceiveStream(process.stdout), max_bytes
        self._reading: anyio.CancelScope | None = None

    async def next(self) -> bytes | None:
        """The next line; None when there will be none."""
        with anyio.CancelScope() as self._reading:
            try:
                return await self._stream.receive_until(b"\n", self._max_bytes)
            except (anyio.EndOfStream, anyio.IncompleteRead):
                return None
            finally:
                self._reading = None
        return None

    async def end_with_the_process(self) -> None:
        """Stop reading from a process that is dead and silent: what it started may hold the pipe open."""
        await self._process.wait()
        while True:
            reading = self._reading
            await anyio.sleep(EXIT_SECONDS)
            if reading is not None and reading is self._reading:
                reading.cancel()


async def _send(process: Child, message: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    try:
        await process.stdin.send(to_json_bytes(message) + b"\n")
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # it is gone; the reader of its lines finds out how


async def _pass_on_stop(process: Child, stopping: anyio.Event) -> None:
    await stopping.wait()
    await _send(process, {"stop": True})


def _kill(process: Child) -> None:
    """End the process and all that it started."""
    if sys.platform == "win32":
        os.kill(process.pid, signal.SIGTERM)
    else:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            # A fork that has not opened its session yet, or a process that is gone.
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def _result(end: Mapping[str, Any] | None, returncode: int | None) -> tuple[Any, str | None]:
    if end is None:
        raise TaskError(f"The task's process ended without a result ({_how(returncode)})", code="PROCESS_DIED")
    match end["do"]:
        case "return":
            return end["value"], end["summary"]
        case "stopped":
            raise TaskCancelled
        case "crash":
            raise _Crash(end["described"], end["traceback"])
        case _:
            raise TaskError(**{name: value for name, value in end.items() if name != "do"})


class _Crash(RuntimeError):
    """An exception in the process: its traceback for the log, and its description for callers."""

    def __init__(self, described: str, traceback: str) -> None:
        super().__init__(f"the task's process raised:\n{traceback}")
        self.described, self.traceback = described, traceback


def _how(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"exit code {returncode}"
    name = signal.Signals(-returncode).name
    hint = "; the system does that when memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"
