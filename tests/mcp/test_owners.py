"""Tasks belong to who started them, and are forgotten in time: over the extension as everywhere."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest
from mcp.server.auth.provider import AccessToken
from mcp.server.auth.settings import AuthSettings
from pydantic import AnyHttpUrl

from mcp_server import LongTaskServer, Settings
from tests.mcp.conftest import Served
from tests.mcp.speaking import Modern, Refused
from tests.mcp.task_types import add_task_types
from tests.server.servers import calling, make_server, serve


class Tokens:
    """Lets everybody in whose token is a name."""

    async def verify_token(self, token: str) -> AccessToken | None:
        if not token.isalpha():
            return None
        return AccessToken(
            token=token, client_id="tests", scopes=[], subject=token, claims={"iss": "https://example.com"}
        )


async def test_nobody_sees_the_task_of_another_owner(tmp_path: Path) -> None:
    """Get, update, cancel, listen and the result all answer as if it were not there; its owner is not disturbed."""
    server = LongTaskServer(
        "owned",
        settings=Settings(backend=f"sqlite:///{tmp_path / 'tasks.db'}"),
        token_verifier=Tokens(),
        auth=AuthSettings(issuer_url=AnyHttpUrl("https://example.com"), resource_server_url=None),
    )
    gate = add_task_types(server)
    async with (
        serve(server) as outside,
        calling(outside.url, token="ann") as ann,
        calling(outside.url, token="bob") as bob,
    ):
        owner, stranger = Modern(ann.http), Modern(bob.http)
        task_id = await owner.start("gated")
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            with pytest.raises(Refused) as refused:
                await stranger.request(method, {"taskId": task_id, "inputResponses": {}})
            assert refused.value.code == -32602
        async with stranger.listen(taskIds=[task_id]) as messages:
            assert (await anext(messages))["params"]["notifications"] == {"taskIds": []}
        for tool in ("get_task_progress", "get_task_result", "cancel_task", "retry_task"):
            assert (await stranger.reply(tool, operation_id=task_id))["error_code"] == "NOT_FOUND"
        answered = await stranger.reply("respond_to_task", operation_id=task_id, key="go", response=True)
        waited_for = await stranger.reply("wait_for_tasks", operation_ids=[task_id])
        assert answered["error_code"] == waited_for["error_code"] == "NOT_FOUND"
        assert (await stranger.reply("list_operations"))["data"]["count"] == 0
        with pytest.raises(Refused, match="No task with the id"):
            await stranger.request("resources/read", {"uri": f"longtask://{task_id}/result"})
        gate.open()
        assert (await owner.until(task_id, "completed", "cancelled"))["status"] == "completed"
        assert (await outside.http.post("/mcp", json={})).status_code == 401


async def test_a_task_is_forgotten_when_its_time_is_over(tmp_path: Path) -> None:
    """It resolves for as long as `ttlMs` says, counted from its creation, and then is as unknown as any other."""
    server = make_server(tmp_path, retention=3.0)
    add_task_types(server)
    async with serve(server) as bare:
        caller = Modern(bare.http)
        task_id = await caller.start("text")
        done = await caller.until(task_id, "completed")
        assert 3000 <= done["ttlMs"] < 20_000
        code = None
        with anyio.fail_after(20):
            while code is None:
                try:
                    assert (await caller.get(task_id))["ttlMs"] == done["ttlMs"]
                except Refused as refused:
                    code = refused.code
        assert code == -32602


async def test_a_task_survives_its_server(served: Served, tmp_path: Path) -> None:
    """Another server on the same store knows the task by the same id, in the same shape."""
    task_id = await served.modern.start("text")
    done = await served.modern.until(task_id, "completed")
    replica = make_server(tmp_path)
    add_task_types(replica)
    async with serve(replica) as elsewhere:
        assert {k: v for k, v in (await Modern(elsewhere.http).get(task_id)).items() if k != "_meta"} == {
            k: v for k, v in done.items() if k != "_meta"
        }
