"""What the tests of this folder run: tasks that end when a test says so, ask, fail and give results of any size.

A task waits at a gate until the test opens it, so that nothing depends on how long things take.
"""

from __future__ import annotations

from enum import StrEnum

import anyio
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, Field

from mcp_server import LongTaskServer, TaskContext, TaskError

__all__ = ["Gate", "add_task_types"]


class Name(BaseModel):
    name: str = Field(min_length=2)


class Confirm(BaseModel):
    confirm: bool


class Paper(StrEnum):
    A4 = "A4"
    A5 = "A5"


class Format(BaseModel):
    paper: Paper
    copies: int | None = None
    also: list[Paper] = []


class Summary(BaseModel):
    pages: int
    title: str | None = None


class Gate:
    """Opened by the test; every gated task waits for it."""

    def __init__(self) -> None:
        self.opened = anyio.Event()
        self.reached = anyio.Event()

    def open(self) -> None:
        self.opened.set()

    async def passed(self) -> None:
        self.reached.set()
        await self.opened.wait()


def add_task_types(server: LongTaskServer) -> Gate:
    gate = Gate()

    @server.task
    async def gated(pages: int = 28, *, task: TaskContext) -> Summary:
        """Reports, and waits at the gate."""
        await task.report(12, total=pages, message="page 12")
        await gate.passed()
        return Summary(pages=pages)

    @server.task
    async def text(size: int = 5) -> str:
        """A text of that size."""
        return "x" * size

    @server.task
    async def talks(times: int, size: int, *, task: TaskContext) -> None:
        """Emits texts of that size."""
        for _ in range(times):
            await task.emit("x" * size)

    @server.task
    async def anything(value: int = 0):  # type: ignore[no-untyped-def]
        """Says nothing about what it returns."""
        return {"value": value} if value else None

    @server.task(mode="never")
    async def greet(name: str) -> str:
        """At once."""
        return f"Hello, {name}!"

    @server.task(mode="required")
    async def required() -> str:
        """For clients that know tasks."""
        return "done"

    @server.task
    async def refuses() -> str:
        """Fails as a tool does."""
        raise TaskError("there is no such file", code="NO_FILE", details={"path": "a.txt"})

    @server.task
    async def breaks() -> str:
        """Fails as the protocol does."""
        raise MCPError(-32042, "somebody has to log in", {"url": "https://example.com"})

    @server.task
    async def crashes() -> str:
        """Fails as programs do."""
        raise ValueError("a secret")

    @server.task
    async def asks(*, task: TaskContext) -> str:
        """Asks one thing."""
        answer = await task.ask("Go on?", Confirm, key="go")
        return f"confirmed: {answer.confirm}"

    @server.task
    async def asks_twice(*, task: TaskContext) -> str:
        """Asks two things at once."""
        answers: list[BaseModel] = []

        async def ask(key: str, message: str, schema: type[BaseModel]) -> None:
            answers.append(await task.ask(message, schema, key=key))

        async with anyio.create_task_group() as questions:
            questions.start_soon(ask, "who", "Who?", Name)
            questions.start_soon(ask, "go", "Go on?", Confirm)
        return f"{len(answers)} answers"

    @server.task
    async def asks_for_a_format(*, task: TaskContext) -> Format:
        """Asks with an enum, and with what may be left out."""
        return await task.ask("On which paper?", Format, key="format")

    @server.task
    async def asks_in_turn(*, task: TaskContext) -> str:
        """Asks three things one after the other, the first of them twice, the others without naming them."""
        answers = [await task.ask("Go on?", Confirm, key="go") for _ in range(2)]
        for message in ("Sure?", "Really?"):
            answers.append(await task.ask(message, Confirm))
        return f"{len(answers)} answers"

    @server.task(retries=1, retry_delay=0.01)
    async def asks_and_fails_once(*, task: TaskContext) -> str:
        """Asks, fails, and is run again."""
        answer = await task.ask("Who?", Name, key="who")
        if task.attempt == 1:
            raise TaskError("once")
        return f"{answer.name} was asked once"

    @server.task(ask_first={"who": ("Who?", Name), "go": ("Go on?", Confirm)})
    async def asks_first(greeting: str = "Hello", *, task: TaskContext) -> str:
        """Asks before there is a task."""
        name = await task.ask("Who?", Name, key="who")
        await task.ask("Go on?", Confirm, key="go")
        return f"{greeting} {name.name}"

    return gate
