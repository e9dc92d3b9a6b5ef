"""`client_sdk.mcp`: an ordinary `call_tool` on a server that makes tasks of calls, ours or another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.session import ClientRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, ElicitRequestFormParams, ElicitRequestParams, ElicitResult, TextContent

from client_sdk import LongTaskClient, NotFound, TaskCancelled, Unavailable
from client_sdk.mcp import TasksExtension, TaskState, patient_http
from client_sdk.wire import TaskStatus
from tests.client_sdk.foreign import ForeignTasks, foreign_server
from tests.client_sdk.processes import ServerProcess, serving
from tests.client_sdk.proxy import Fault, proxying


def words(result: CallToolResult) -> list[str]:
    return [block.text for block in result.content if isinstance(block, TextContent)]


@dataclass
class Foreign:
    client: Client
    extension: TasksExtension
    tasks: ForeignTasks
    states: list[TaskState] = field(default_factory=list)
    on_state: Callable[[], None] = lambda: None


@pytest.fixture
async def foreign() -> AsyncIterator[Foreign]:
    server, tasks = foreign_server()

    def note(state: TaskState) -> None:
        made.states.append(state)
        made.on_state()

    extension = TasksExtension(on_state=note)
    async with Client(server, extensions=[extension], elicitation_callback=answer_by_name) as client:
        made = Foreign(client, extension, tasks)
        yield made


async def answer_by_name(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
    assert isinstance(params, ElicitRequestFormParams)
    (name,) = params.requested_schema["properties"]
    return ElicitResult(action="accept", content={name: {"name": "Ada", "colour": "blue"}[name]})


async def test_a_foreign_servers_task_is_followed_to_its_result(foreign: Foreign) -> None:
    """By polling, since it sends nothing; on_state sees the way there."""
    result = await foreign.client.call_tool("slow")
    assert words(result) == ["after a while"]
    assert [state.status for state in foreign.states] == ["working", "working", "completed"]
    assert words(await foreign.client.call_tool("at_once")) == ["at once"]


async def test_errors_of_the_tool_are_results_and_errors_of_the_protocol_are_raised(foreign: Foreign) -> None:
    """As they would have been without a task."""
    result = await foreign.client.call_tool("tool_error")
    assert result.is_error
    with pytest.raises(MCPError) as caught:
        await foreign.client.call_tool("protocol_error")
    assert (caught.value.code, caught.value.message) == (-32011, "no quota")


async def test_questions_go_through_the_clients_callback_once_each(foreign: Foreign) -> None:
    """Two at the same time, each answered under its key."""
    assert words(await foreign.client.call_tool("ask")) == ["Ada blue"]


async def test_a_question_without_a_callback_ends_call_and_task() -> None:
    """Nobody else could answer it."""
    server, tasks = foreign_server()
    async with Client(server, extensions=[TasksExtension()]) as client:
        with pytest.raises(MCPError, match="not supported"):
            await client.call_tool("ask")
    assert [task.is_cancelled for task in tasks.tasks.values()] == [True]


async def test_a_cancelled_call_cancels_its_task(foreign: Foreign) -> None:
    """As without a task, where the server would have stopped with the call."""
    with anyio.CancelScope() as scope:
        foreign.on_state = scope.cancel
        await foreign.client.call_tool("endless")
    assert [task.is_cancelled for task in foreign.tasks.tasks.values()] == [True]


async def test_a_task_cancelled_by_somebody_else_is_said_to_be() -> None:
    """With its id."""

    async def cancel(state: TaskState) -> None:
        if state.status == "working":
            await extension.cancel(client.session, state.task_id)

    server, tasks = foreign_server()
    extension = TasksExtension(on_state=cancel)
    async with Client(server, extensions=[extension]) as client:
        with pytest.raises(TaskCancelled) as caught:
            await client.call_tool("endless")
    assert [caught.value.operation_id] == list(tasks.tasks)


async def test_a_task_the_server_dropped_is_not_found(foreign: Foreign) -> None:
    """With its id."""
    with pytest.raises(NotFound) as caught:
        await foreign.client.call_tool("dropped")
    assert caught.value.operation_id == foreign.states[-1].task_id


async def test_our_servers_tasks_are_followed_by_notifications(server: ServerProcess) -> None:
    """Over HTTP; the task is not asked for again and again."""
    states: list[TaskState] = []
    async with (
        proxying(server.port) as proxy,
        Client(f"{proxy.url}/mcp", extensions=[TasksExtension(on_state=states.append)]) as client,
    ):
        result = await client.call_tool("burst", {"count": 30, "pause": 0.05})
        assert result.structured_content == {"count": 30}
        gets = [request for request in proxy.requests if "tasks/get" in request.head]
    assert len(gets) <= 2
    assert {state.task_id for state in states} == {states[0].task_id}
    assert states[-1].status == "completed"
    assert len(states) > 5
    numbers: Any = states[-1].meta
    assert any("cursor" in value for value in numbers.values() if isinstance(value, dict))


async def test_without_notifications_our_server_is_polled(server: ServerProcess) -> None:
    """A gateway that does not let `subscriptions/listen` through costs time and nothing else."""
    async with (
        proxying(server.port, refusing_listen) as proxy,
        Client(f"{proxy.url}/mcp", extensions=[TasksExtension()]) as client,
    ):
        result = await client.call_tool("burst", {"count": 5, "pause": 0.2})
        assert result.structured_content == {"count": 5}
        assert any("subscriptions/listen" in request.head for request in proxy.requests)


def refusing_listen(request: Any) -> Fault:
    return Fault(status=502) if "subscriptions/listen" in request.head else Fault()


async def test_our_servers_questions_and_failures(server: ServerProcess) -> None:
    """Through the same callback, and as the same errors, as any other server's."""

    async def confirm(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert params.message == "Overwrite the index?"
        return ElicitResult(action="accept", content={"confirm": True})

    async with Client(f"{server.url}/mcp", extensions=[TasksExtension()], elicitation_callback=confirm) as client:
        assert (await client.call_tool("asking")).structured_content == {"confirm": True}
        failed = await client.call_tool("failing")
        assert failed.is_error
        assert "no such file" in words(failed)[0]


async def test_a_question_our_server_does_not_show_can_be_answered_elsewhere(
    server: ServerProcess, client: LongTaskClient
) -> None:
    """To a client without the callback the task is at work, and says what it waits for."""

    async def answer(state: TaskState) -> None:
        if state.status_message == "Waits for an answer: Overwrite the index?":
            assert (state.status, state.input_requests) == ("working", None)
            await client.task(state.task_id).answer("overwrite", {"confirm": True})

    async with Client(f"{server.url}/mcp", extensions=[TasksExtension(on_state=answer)]) as mcp_client:
        assert (await mcp_client.call_tool("asking")).structured_content == {"confirm": True}


async def test_an_abandoned_call_cancels_the_task_on_our_server(server: ServerProcess, client: LongTaskClient) -> None:
    """Seen from the outside: the task is cancelled soon after the caller gave up."""
    states: list[TaskState] = []

    def give_up(state: TaskState) -> None:
        states.append(state)
        scope.cancel()

    async with Client(f"{server.url}/mcp", extensions=[TasksExtension(on_state=give_up)]) as mcp_client:
        with anyio.CancelScope() as scope:
            await mcp_client.call_tool("idle")
    snapshot = await client.task(states[0].task_id).wait(timeout=10)
    assert snapshot.status is TaskStatus.CANCELLED


async def test_a_task_can_be_taken_up_by_its_id(server: ServerProcess, client: LongTaskClient) -> None:
    """By another client, after a crash, or when it was started otherwise; giving up on that cancels nothing."""
    handle = await client.start("burst", {"count": 30, "pause": 0.02})
    tasks = TasksExtension()
    async with Client(f"{server.url}/mcp", extensions=[tasks]) as mcp_client:
        with anyio.move_on_after(0.1):
            await tasks.result(mcp_client.session, handle.id)
        result = await tasks.result(mcp_client.session, handle.id)
        assert result.structured_content == {"count": 30}
        with pytest.raises(NotFound):
            await tasks.result(mcp_client.session, "no-such-task")


async def test_a_call_outlives_the_server(tmp_path: Path) -> None:
    """Killed and started again in the middle, at once after it said anything."""
    restarted: list[TaskState] = []

    async def restart(state: TaskState) -> None:
        if not restarted and "Schritt" in (state.status_message or ""):
            restarted.append(state)
            server.kill()
            server.start()

    with serving(tmp_path) as server:
        transport = patient_http(f"{server.url}/mcp")
        async with Client(transport, extensions=[TasksExtension(on_state=restart)]) as client:
            result = await client.call_tool("burst", {"count": 20, "pause": 0.05})
    assert result.structured_content == {"count": 20}
    assert restarted


async def test_a_server_that_stays_away_fails_the_call_and_not_the_session(tmp_path: Path) -> None:
    """The call says which task it was about, and the same session serves again when the server is back."""
    ids: list[str] = []

    def kill(state: TaskState) -> None:
        if not ids:
            ids.append(state.task_id)
            server.kill()

    with serving(tmp_path) as server:
        tasks = TasksExtension(on_state=kill, patience=0.3)
        async with Client(patient_http(f"{server.url}/mcp", patience=0.1), extensions=[tasks]) as client:
            with pytest.raises(Unavailable) as caught:
                await client.call_tool("burst", {"count": 20, "pause": 0.05})
            assert [caught.value.operation_id] == ids
            server.start()
            result = await tasks.result(client.session, ids[0])
    assert result.structured_content == {"count": 20}


async def test_many_calls_at_once_share_a_client(server: ServerProcess) -> None:
    """Each gets its own result."""
    results: dict[int, Any] = {}
    async with Client(f"{server.url}/mcp", extensions=[TasksExtension()]) as client:

        async def call(i: int) -> None:
            result = await client.call_tool("returning", {"value": i})
            results[i] = result.structured_content

        async with anyio.create_task_group() as group:
            for i in range(10):
                group.start_soon(call, i)
    assert {i: content["result"] for i, content in results.items()} == {i: i for i in range(10)}
