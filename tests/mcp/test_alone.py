"""`TasksExtension` on an SDK server that has nothing else of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from mcp_server import Engine, Registry, Settings, TaskContext, TasksExtension, open_backend
from mcp_server.access.principal import ANONYMOUS
from tests.mcp.speaking import FORMS, Modern, Refused
from tests.mcp.task_types import Confirm
from tests.mcp.tasks_schema import CREATED, DETAILED, valid
from tests.server.servers import serve

ROOT = Path(__file__).parents[2]


@dataclass
class Alone:
    server: MCPServer
    tasks: TasksExtension
    engine: Engine
    modern: Modern


@pytest.fixture
async def alone(tmp_path: Path) -> AsyncIterator[Alone]:
    async with existing_server(tmp_path) as there:
        yield there


@asynccontextmanager
async def existing_server(folder: Path, *, pushes: bool = True) -> AsyncIterator[Alone]:
    registry = Registry()

    @registry.task
    async def add(a: int, b: int = 1, *, task: TaskContext) -> int:
        """Adds in the background."""
        await task.report(50)
        return a + b

    @registry.task(name="long_text")
    def long(size: int) -> str:
        """More than fits a page."""
        return "x" * size

    @registry.task
    async def confirm(*, task: TaskContext) -> bool:
        """Asks."""
        return (await task.ask("Sure?", Confirm, key="sure")).confirm

    settings = Settings(backend=f"sqlite:///{folder / 'tasks.db'}")
    engine = Engine(registry, open_backend(settings), settings)
    tasks = TasksExtension(engine)
    server = MCPServer(
        "existing", extensions=[tasks], middleware=[tasks.listen] if pushes else [], lifespan=tasks.lifespan
    )

    @server.tool()
    def greet(name: str) -> str:
        """Was there before."""
        return f"Hello, {name}!"

    security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
    async with serve(server.streamable_http_app(transport_security=security)) as bare:
        yield Alone(server, tasks, engine, Modern(bare.http))


async def test_its_task_types_are_tools_beside_the_others(alone: Alone) -> None:
    """Nothing of `LongTaskServer` is there, and what was there before works as before."""
    tools = (await alone.modern.request("tools/list", {}))["tools"]
    assert sorted(tool["name"] for tool in tools) == ["add", "confirm", "greet", "long_text"]
    assert (await alone.modern.call("greet", {"name": "Ann"}))["content"][0]["text"] == "Hello, Ann!"


async def test_a_declared_call_becomes_a_task(alone: Alone) -> None:
    """Created, followed by push and by poll, done; no stream is promised that nobody serves."""
    created = valid(await alone.modern.call("add", {"a": 4}), CREATED)
    async with alone.modern.listen(taskIds=[created["taskId"]]) as messages:
        seen = [message async for message in messages]
    assert seen[-2]["params"]["status"] == "completed"
    done = valid(await alone.modern.get(created["taskId"]), DETAILED)
    assert done["result"]["structuredContent"] == {"result": 5}
    assert "stream_url" not in done["_meta"]["mcp-long-tasks/task"]


async def test_a_client_without_the_extension_waits_for_the_result(alone: Alone) -> None:
    """There is no tool to come back with, so the whole result is the answer, however long."""
    caller = Modern(alone.modern.http, {})
    assert (await caller.call("add", {"a": 2, "b": 3}))["structuredContent"] == {"result": 5}
    assert len((await caller.call("long_text", {"size": 50_000}))["content"][0]["text"]) == 50_000


async def test_a_question_that_cannot_be_asked_ends_the_task(alone: Alone) -> None:
    """A client that cannot ask is told what it lacks, and nothing waits forever; one that can is asked."""
    with pytest.raises(Refused) as refused:
        await Modern(alone.modern.http, {}).call("confirm")
    assert (refused.value.code, refused.value.data) == (-32021, {"requiredCapabilities": {"elicitation": {}}})
    (task,) = (await alone.engine.list(principal=ANONYMOUS)).tasks
    while not task.is_over:
        task = await alone.engine.wait(task, 10, any_event=True)
    assert task.status == "cancelled"
    asking = Modern(alone.modern.http, FORMS)
    round_1 = await asking.call("confirm")
    answers = {"sure": {"action": "accept", "content": {"confirm": True}}}
    done = await asking.call("confirm", inputResponses=answers, requestState=round_1["requestState"])
    assert done["structuredContent"] == {"result": True}


async def test_pushes_may_be_left_out(tmp_path: Path) -> None:
    """Without the middleware `taskIds` are not acknowledged, and polling works."""
    async with existing_server(tmp_path, pushes=False) as there:
        task_id = await there.modern.start("add", {"a": 1})
        async with there.modern.listen(taskIds=[task_id]) as messages:
            assert (await anext(messages))["params"]["notifications"] == {}
        while (task := await there.modern.get(task_id))["status"] == "working":
            # The tools for waiting are not there either.
            await there.engine.backend.wait(task_id, task["_meta"]["mcp-long-tasks/task"]["cursor"])


async def test_a_type_registered_later_is_added_as_a_tool(alone: Alone) -> None:
    """`binding` gives what `add_tool` takes."""

    @alone.engine.registry.task
    async def later() -> str:
        """Came afterwards."""
        return "here"

    tool = alone.tasks.binding(alone.engine.registry.get("later"))
    alone.server.add_tool(tool.fn, meta=tool.meta, **tool.kwargs)
    assert (await alone.modern.call("later"))["resultType"] == "task"


async def test_a_program_may_call_its_own_server(alone: Alone) -> None:
    """`MCPServer.call_tool` runs the task and gives its result."""
    result = await alone.server.call_tool("add", {"a": 1})
    assert result.structured_content == {"result": 2}  # type: ignore[union-attr]


def test_the_example_runs_as_it_stands(tmp_path: Path) -> None:
    """Its client starts the server over stdio and asserts what it gets."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LONGTASKS_BACKEND": f"sqlite:///{tmp_path / 'tasks.db'}"}
    command = [sys.executable, str(ROOT / "examples" / "sdk_server" / "client.py")]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "rendered twice\n"
