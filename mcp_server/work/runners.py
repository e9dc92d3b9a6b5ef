"""The three ways to run a task function: on the event loop, in a thread, in a process.

Each is a coroutine that returns the function's result or raises what it raised, and
stops waiting when it is cancelled. A thread cannot be ended from outside: it is left
behind, and its next call on the context raises. A process is killed.
"""

from __future__ import annotations

import contextvars
import inspect
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
from anyio.abc import Process, TaskGroup
from anyio.lowlevel import current_token
from anyio.streams.buffered import BufferedByteReceiveStream

from ..context import Channel, SyncTaskContext, TaskCancelled
from ..errors import TaskError
from ..jsonable import to_bytes
from ..task import Kind
from .outbox import as_dict

if TYPE_CHECKING:
    from ..registry import TaskType

__all__ = ["run_async", "run_in_process", "run_in_thread"]

MIB = 1024 * 1024
EXIT_SECONDS = 1.0
"""How long a process may take to exit once its function has ended."""


async def run_async(function: Callable[..., Awaitable[Any]], arguments: Mapping[str, Any]) -> Any:
    """Run in an asyncio task of its own, so that a function that cancels "the current task" ends nobody else's."""
    result: list[Any] = []
    failure: list[BaseException] = []

    async def body() -> None:
        try:
            result.append(await function(**arguments))
        except BaseException as error:  # SystemExit too: asyncio would end the event loop with it
            failure.append(error)

    # A function that was cancelled and returns a result all the same has a result.
    with suppress(anyio.get_cancelled_exc_class()):
        async with anyio.create_task_group() as own:
            own.start_soon(body)
    if failure:
        raise failure[0]
    return result[0]


async def run_in_thread(function: Callable[..., Any], arguments: Mapping[str, Any], *, name: str) -> Any:
    """Run in a daemon thread of its own, so that a function that never returns holds up neither a pool nor the exit."""
    done, token = anyio.Event(), current_token()
    result: list[Any] = []
    failure: list[BaseException] = []
    context = contextvars.copy_context()

    def body() -> None:
        try:
            result.append(context.run(function, **arguments))
        except BaseException as error:  # SystemExit too: it must not end in a thread's silence
            failure.append(error)
        try:
            anyio.from_thread.run_sync(done.set, token=token)
        except anyio.RunFinishedError:
            return  # the server has stopped meanwhile

    threading.Thread(target=body, name=name, daemon=True).start()
    await done.wait()
    if failure:
        raise failure[0]
    return result[0]


async def run_in_process(
    task_type: TaskType,
    arguments: Mapping[str, Any],
    context: SyncTaskContext,
    stopping: anyio.Event,
    max_bytes: int,
) -> Any:
    """Run in a fresh interpreter (`process_child.py`), speaking lines of JSON over its standard streams.

    The function is found again by module and name, so it must be at the top level of a
    module. When this server dies, the child sees its input end and exits.
    """
    order = {
        "path": sys.path,
        "argv": sys.argv,
        "module": task_type.function.__module__,
        "file": inspect.getsourcefile(task_type.function),
        "function": task_type.function.__qualname__,
        "type": task_type.name,
        "arguments": arguments,
        "max_bytes": max_bytes,
        "info": {
            "id": context.id,
            "type": context.info.type,
            "attempt": context.attempt,
            "owner": context.info.owner,
            "metadata": context.metadata,
            "state": context.state,
        },
    }
    # A session of its own: what a terminal or a service manager signals reaches the server only.
    command = [sys.executable, "-m", "mcp_server.work.process_child"]
    process = await anyio.open_process(command, stderr=None, start_new_session=True)
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_pass_on_stop, process, stopping)
            lines = _Lines(process, most=2 * max_bytes + MIB)
            tasks.start_soon(lines.end_with_the_process)
            await _send(process, order)
            end = await _converse(process, lines, context, tasks)
            tasks.cancel_scope.cancel()
        # It has said its last word. To kill a process that is ending by itself can lose its exit code.
        with anyio.move_on_after(EXIT_SECONDS):
            await process.wait()
    finally:
        with anyio.CancelScope(shield=True):
            if process.returncode is None:
                _kill(process)
            await process.aclose()
    return _result(end, process.returncode, context)


async def _converse(
    process: Process, lines: _Lines, context: SyncTaskContext, tasks: TaskGroup
) -> dict[str, Any] | None:
    """Turn the child's lines into facts until it says how it ended; None when it just went away."""
    channel = context._channel
    while (line := await lines.next()) is not None:
        message = json.loads(line)
        match message["do"]:
            case "put":
                await _put(process, channel, message)
            case "ask":
                # Beside the rest: its other threads go on while one waits for an answer.
                tasks.start_soon(_answer, process, channel, message)
            case _:
                return dict(message)
    return None


async def _put(process: Process, channel: Channel, message: Mapping[str, Any]) -> None:
    number = message.get("number")
    # Who must stop is told by `_pass_on_stop`, and cleans up before it says that it has stopped.
    with suppress(TaskCancelled):
        channel.put(Kind(message["kind"]), message["facts"])
        await channel.drain(everything=number is not None)
        if number is not None:
            await _send(process, {"to": number})


async def _answer(process: Process, channel: Channel, message: Mapping[str, Any]) -> None:
    with suppress(TaskCancelled):
        try:
            reply: dict[str, Any] = {
                "answer": await channel.answer(message["key"], message["request"], message["timeout"])
            }
        except TimeoutError:
            reply = {"timeout": True}
        except TaskError as error:
            reply = {"error": as_dict(error)}
        await _send(process, {"to": message["number"], **reply})


class _Lines:
    """What the process says, line by line."""

    def __init__(self, process: Process, most: int) -> None:
        assert process.stdout is not None
        self._process, self._stream, self._most = process, BufferedByteReceiveStream(process.stdout), most
        self._reading: anyio.CancelScope | None = None

    async def next(self) -> bytes | None:
        """The next line; None when there will be none."""
        with anyio.CancelScope() as self._reading:
            try:
                return await self._stream.receive_until(b"\n", self._most)
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


async def _send(process: Process, message: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    try:
        await process.stdin.send(to_bytes(message) + b"\n")
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return  # it is gone; reading says how


async def _pass_on_stop(process: Process, stopping: anyio.Event) -> None:
    await stopping.wait()
    await _send(process, {"stop": True})


def _kill(process: Process) -> None:
    """End the process and all that it started."""
    if sys.platform == "win32":
        process.kill()
    else:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _result(end: Mapping[str, Any] | None, returncode: int | None, context: SyncTaskContext) -> Any:
    if end is None:
        raise TaskError(f"The task's process ended without a result ({_how(returncode)})", code="PROCESS_DIED")
    match end["do"]:
        case "return":
            context.summary = end["summary"]
            return end["value"]
        case "stopped":
            raise TaskCancelled
        case "crash":
            raise RuntimeError(f"the task's process raised:\n{end['traceback']}")
        case _:
            raise TaskError(**{name: value for name, value in end.items() if name != "do"})


def _how(returncode: int | None) -> str:
    if returncode is None or returncode >= 0:
        return f"exit code {returncode}"
    name = signal.Signals(-returncode).name
    hint = "; the system does that when memory runs out" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"
