"""The task types that the suite's tasks scenarios call, with the behaviour they expect.

Names, arguments and texts are the suite's; see `everything.py` for the rest of what it calls.
"""

from __future__ import annotations

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR
from pydantic import BaseModel

from mcp_server import LongTaskServer, TaskContext, TaskError

__all__ = ["add_task_types"]


class Confirmation(BaseModel):
    confirm: bool


class Name(BaseModel):
    name: str


async def greet(name: str) -> str:
    """Greet somebody, at once."""
    return f"Hello, {name}!"


async def slow_compute(seconds: float, label: str = "work", *, task: TaskContext) -> str:
    """Take some seconds."""
    await task.report(0, total=seconds, message=label)
    await anyio.sleep(seconds)
    return f"{label} took {seconds:g} seconds"


async def failing_job() -> str:
    """Fail after a second, as a tool does."""
    await anyio.sleep(1)
    raise TaskError("This task fails on purpose", code="ON_PURPOSE")


async def protocol_error_job() -> str:
    """Fail with an error of the protocol."""
    raise MCPError(code=INTERNAL_ERROR, message="This task ends in a protocol error on purpose")


async def confirm_delete(filename: str, *, task: TaskContext) -> str:
    """Delete a file once somebody confirmed it."""
    answer = await task.ask(f"Delete {filename}?", Confirmation)
    return f"Deleted {filename}" if answer.confirm else f"Kept {filename}"


async def multi_input(*, task: TaskContext) -> str:
    """Ask two things at once."""
    answers: dict[str, BaseModel] = {}

    async def ask(key: str, message: str, schema: type[BaseModel]) -> None:
        answers[key] = await task.ask(message, schema, key=key)

    async with anyio.create_task_group() as questions:
        questions.start_soon(ask, "name", "Who are you?", Name)
        questions.start_soon(ask, "confirmation", "Go on?", Confirmation)
    return f"Answered: {sorted(answers)}"


async def tool_with_task(*, task: TaskContext) -> str:
    """Ask for a name before there is a task, and greet in the task."""
    answer = await task.ask("What is your name?", Name, key="user_name")
    return f"Hello, {answer.name}!"


def add_task_types(server: LongTaskServer) -> None:
    server.task(mode="never")(greet)
    server.task(slow_compute)
    server.task(mode="required")(failing_job)
    server.task(protocol_error_job)
    server.task(confirm_delete)
    server.task(multi_input)
    first = {"user_name": ("What is your name?", Name)}
    server.task(name="test_tool_with_task", mode="required", ask_first=first)(tool_with_task)
