"""How long a call is held, for whom and why; and that the end of a wait ends nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest

from mcp_server import ConfigurationError, Settings
from mcp_server.mcp.wait import HOSTS
from tests.mcp.conftest import Served
from tests.mcp.speaking import TASKS, Modern
from tests.mcp.task_types import add_task_types
from tests.server.servers import make_server, serve

DOCS = Path(__file__).parents[2] / "docs" / "mcp-clients.md"


async def test_a_bare_request_is_answered_at_once_and_told_what_to_pass(served: Served) -> None:
    """Nothing is waited for without being asked; `next` names the wait that is worth asking for."""
    started = (await served.bare.call("start_long_task", task_type="gated"))["data"]
    operation_id = started["operation_id"]
    for data in (started, (await served.bare.call("get_task_progress", operation_id=operation_id))["data"]):
        assert data["waited"]["seconds"] == 0
        assert (
            f'get_task_result(operation_id="{operation_id}", wait_seconds=25, since={data["last_event_id"]})'
            in data["next"]
        )
    reply = await served.bare.call("get_task_result", operation_id=operation_id)
    assert (reply["error_code"], reply["data"]["waited"]["seconds"]) == ("NOT_READY", 0)
    assert "wait_seconds=25" in reply["details"]["next"]


@pytest.mark.parametrize(
    ("name", "capabilities", "token", "seconds", "reason"),
    [
        ("somebody", {}, False, 0, "not in the table"),
        ("claude-code", {}, False, 45, "what claude-code waits"),
        ("claude-code", {}, True, 110, "progress notifications"),
        ("codex-mcp-client", {}, True, 280, "progress notifications"),
        ("gemini-cli-mcp-client", {}, True, 570, "progress notifications"),
        ("opencode", {}, False, 45, "what opencode waits"),
        ("opencode", {}, True, 570, "progress notifications"),
        ("Visual Studio Code", {}, False, 110, "what Visual Studio Code waits"),
        ("cursor-vscode (via mcp-remote 0.1.37)", {}, False, 45, "cursor-vscode"),
        ("somebody", {}, True, 110, "progress notifications"),
        ("claude-code", TASKS, True, 0, "tasks extension"),
    ],
)
async def test_the_wait_fits_the_caller(
    served: Served, name: str, capabilities: Mapping[str, Any], token: bool, seconds: float, reason: str
) -> None:
    """Declared tasks, then a progress token, then the table of hosts decide; the reply says which and why."""
    operation_id = await served.bare.start("asks")
    caller = Modern(served.bare.http, capabilities, name)
    meta = {"progressToken": 1} if token else {}
    await served.bare.call("get_task_result", operation_id=operation_id, wait_seconds=20)
    result = await caller.call("get_task_result", {"operation_id": operation_id}, meta=meta)
    waited = result["structuredContent"]["data"]["waited"]
    assert waited["seconds"] == seconds
    assert reason in waited["reason"]


@pytest.mark.parametrize(
    ("asked", "seconds"), [(0, 0), (3.5, 3.5), (570, 570), (1e9, 570), (-1, 0), ("NaN", 0), ("Infinity", 570)]
)
async def test_a_wait_is_cut_to_what_is_allowed_and_never_refused(
    served: Served, asked: float | str, seconds: float
) -> None:
    """Any number is taken, also those that JSON has no name for."""
    operation_id = await served.bare.start("text")
    await served.bare.call("get_task_result", operation_id=operation_id, wait_seconds=20)
    arguments = f'{{"operation_id":"{operation_id}","wait_seconds":{asked}}}'
    params = f'{{"name":"get_task_result","arguments":{arguments}}}'
    response = await served.bare.post(f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}'.encode())
    reply = response.json()["result"]["structuredContent"]
    assert reply["data"]["waited"]["seconds"] == seconds


async def test_a_known_host_gets_a_short_task_done_in_one_call(served: Served) -> None:
    """The start waits a short grace; within it the reply holds the output and asks for nothing more."""
    data = (await Modern(served.bare.http, {}, "claude-code").reply("start_long_task", task_type="text"))["data"]
    assert (data["status"], data["output"]) == ("completed", "xxxxx")
    assert "waited" not in data
    assert data["next"] == "Done. `output` is the result; no more calls."


async def test_a_known_host_is_not_held_longer_than_it_bears(served: Served) -> None:
    """Whatever its model asks for: 110 s, or what its row says if that is more."""
    operation_id = await served.bare.start("asks")
    await served.bare.call("get_task_result", operation_id=operation_id, wait_seconds=20)
    for name, seconds in (("claude-code", 110), ("codex-mcp-client", 280), ("somebody", 570)):
        asked = {"operation_id": operation_id, "wait_seconds": 1000}
        reply = (await Modern(served.bare.http, {}, name).call("get_task_result", asked))["structuredContent"]
        assert reply["data"]["waited"]["seconds"] == seconds


async def test_operators_may_override_the_table(tmp_path: Path) -> None:
    """A row of the setting wins over ours, with and without a token, and adds a host; grace and limit are settings."""
    server = make_server(tmp_path, host_waits="claude-code=7, my agent=9", start_grace=0.0, max_wait=8.0)
    add_task_types(server)
    async with serve(server) as bare:
        operation_id = await bare.start("asks")
        await bare.call("get_task_result", operation_id=operation_id, wait_seconds=8)
        for name, seconds in (("claude-code", 7), ("My Agent", 8), ("goose", 8)):
            reply = await Modern(bare.http, {}, name).reply("get_task_result", operation_id=operation_id)
            assert reply["data"]["waited"]["seconds"] == seconds
        result = await Modern(bare.http, {}, "claude-code").call(
            "get_task_result", {"operation_id": operation_id}, meta={"progressToken": 1}
        )
        assert result["structuredContent"]["data"]["waited"]["seconds"] == 7
        started = await Modern(bare.http, {}, "goose").reply("start_long_task", task_type="gated")
        assert started["data"]["waited"]["seconds"] == 0


@pytest.mark.parametrize("setting", ["agent", "agent=", "=5", "agent=soon"])
def test_a_row_that_is_none_is_a_clear_error(setting: str) -> None:
    """The message shows the row."""
    with pytest.raises(ConfigurationError, match="name=seconds"):
        Settings(host_waits=setting)


def test_the_table_of_hosts_is_documented() -> None:
    """docs/mcp-clients.md shows every host with its seconds in both cases, and no other."""
    rows = [line.split("|") for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    shown = {row[1].strip(" `"): tuple(float(cell.strip().removesuffix(" s")) for cell in row[2:4]) for row in rows}
    assert shown == {name: tuple(row) for name, row in HOSTS.items()}


async def test_the_end_of_a_wait_is_no_error_and_cancels_nothing(served: Served) -> None:
    """The reply says that all is well; the task goes on."""
    operation_id = await served.bare.start("gated")
    # Queued and started are events 1 and 2: the report is in the log once there is another.
    await served.bare.call("get_task_progress", operation_id=operation_id, since=2, wait_seconds=60)
    reply = await served.bare.call("get_task_result", operation_id=operation_id, wait_seconds=0.05)
    assert (reply["error_code"], reply["data"]["status"]) == ("NOT_READY", "running")
    assert reply["details"]["next"].startswith("All is well, ")
    served.gate.open()
    reply = await served.bare.call("get_task_result", operation_id=operation_id, wait_seconds=20)
    assert reply["data"]["result"]["pages"] == 28


@pytest.mark.parametrize("accept", ["application/json", "application/json, text/event-stream"])
@pytest.mark.parametrize("speaks", ["bare", "modern"])
async def test_hanging_up_ends_the_wait_and_not_the_task(tmp_path: Path, speaks: str, accept: str) -> None:
    """The caller's connection is closed in the middle of a wait; the task goes on and is found again."""
    server = make_server(tmp_path)
    gate = add_task_types(server)
    with anyio.fail_after(30):
        async with serve(server) as bare:
            operation_id = await bare.start("gated")
            await gate.reached.wait()
            params = {"name": "get_task_result", "arguments": {"operation_id": operation_id, "wait_seconds": 100}}
            modern, method = Modern(bare.http, {}), "tools/call"
            message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            headers: dict[str, str] = {}
            if speaks == "modern":
                message, headers = modern.message(method, params), modern.headers(method, params)
            patience = httpx2.Timeout(30, read=0.3)
            with pytest.raises(httpx2.ReadTimeout):
                await bare.http.post("/mcp", json=message, headers={**headers, "Accept": accept}, timeout=patience)
            assert (await bare.snapshot(operation_id))["status"] == "running"
            found = (await bare.call("list_operations", status="running"))["data"]["operations"]
            assert [task["operation_id"] for task in found] == [operation_id]
        # The server stopped at once: it was holding nothing any more.


async def test_a_wait_wakes_on_the_end_and_not_on_progress_without_a_cursor(served: Served) -> None:
    """With `since` any event answers; without, the end or a question does."""
    operation_id = await served.bare.start("asks")
    with anyio.fail_after(20):
        waiting = await served.bare.call("get_task_progress", operation_id=operation_id, wait_seconds=60)
        assert waiting["data"]["status"] == "input_required"
        assert 'respond_to_task(operation_id="' in waiting["data"]["next"]
        assert "'Go on?'" in waiting["data"]["next"]
        gated = await served.bare.start("gated")
        news = await served.bare.call("get_task_progress", operation_id=gated, wait_seconds=60, since=1)
        assert news["data"]["events"][0]["id"] == 2


async def test_two_answers_about_one_task_are_never_the_same(served: Served) -> None:
    """What changes from one look to the next is in the sentence, if only the time."""
    operation_id = await served.bare.start("gated")
    await served.gate.reached.wait()
    several = [
        (await served.bare.call("wait_for_tasks", operation_ids=[operation_id], wait_seconds=seconds))["data"]["next"]
        for seconds in (0, 1)
    ]
    assert several[0] != several[1]
    first = await served.bare.call("get_task_progress", operation_id=operation_id)
    served.gate.open()
    second = await served.bare.call("get_task_progress", operation_id=operation_id, wait_seconds=20)
    assert first["data"]["next"] != second["data"]["next"]
    assert first["data"]["last_event_id"] < second["data"]["last_event_id"]


async def test_several_tasks_are_waited_for_together(served: Served) -> None:
    """`any` answers with the first that ends, `all` with the last; both say who is over and who is not."""
    slow, asking, quick = [await served.bare.start(kind) for kind in ("gated", "asks", "text")]
    with anyio.fail_after(20):
        some = await served.bare.call("wait_for_tasks", operation_ids=[slow, quick], wait_seconds=60)
        assert (some["data"]["ended"], some["data"]["unfinished"]) == ([quick], [slow])
        assert f'operation_ids=["{slow}"]' in some["data"]["next"]
        served.gate.open()
        every = await served.bare.call(
            "wait_for_tasks", operation_ids=[slow, asking, quick], mode="all", wait_seconds=60
        )
    assert sorted(every["data"]["ended"]) == sorted([slow, quick])
    assert every["data"]["waiting_for_input"] == [asking]
    assert "respond_to_task" in every["data"]["next"]
    missing = await served.bare.call("wait_for_tasks", operation_ids=[quick, "unknown"])
    assert missing["error_code"] == "NOT_FOUND"
    assert (await served.bare.call("wait_for_tasks", operation_ids=[]))["error_code"] == "INVALID_ARGUMENT"
