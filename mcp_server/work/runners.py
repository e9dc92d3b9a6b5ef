"""Two ways to run a task function: on the event loop, and in a thread (`process.py` is the third).

Each is a coroutine that returns the function's result or raises what it raised, and
stops waiting when it is cancelled. A thread cannot be ended from outside: it is left
behind, and its next call on the context raises.
"""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
from anyio.lowlevel import current_token

__all__ = ["call_plain", "run_async", "run_in_thread"]


def call_plain(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call a plain function from a thread without an event loop, and await a coroutine that it returns."""
    returned = function(**arguments)
    return anyio.run(_awaited, returned) if inspect.isawaitable(returned) else returned


async def _awaited(returned: Awaitable[Any]) -> Any:
    return await returned


async def run_async(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Run in an asyncio task of its own, so that a function that cancels "the current task" ends only itself."""
    result: list[Any] = []
    failure: list[BaseException] = []

    async def body() -> None:
        try:
            returned = function(**arguments)
            # A plain decorator around an `async def` returns its coroutine, or what came of it.
            result.append(await returned if inspect.isawaitable(returned) else returned)
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
