"""The traceback of a failed task: kept with it, and read by operators only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mcp_server import LongTaskServer
from mcp_server.access.keys import KeyRing
from mcp_server.access.principal import ADMIN, READ, WRITE
from tests.cli.commands import command
from tests.crash.processes import serving
from tests.server.servers import Caller, calling, make_server, serve

from .failing import FAILING, failures


def failing_server(directory: Path, **settings: Any) -> LongTaskServer:
    server = make_server(directory, **settings)
    server.include(failures)
    return server


async def traceback(caller: Caller, operation_id: str) -> Any:
    return (await caller.http.get(f"/progress/{operation_id}?detail=1")).json()["traceback"]


async def test_a_server_on_loopback_shows_where_it_failed(tmp_path: Path) -> None:
    """`longtasks serve` itself: the author's own frames, of every kind of function, also by `longtasks show`."""
    with serving("tests.access.failing:server", tmp_path) as (process,):
        async with calling(await process.start()) as caller:
            for task_type in FAILING:
                operation_id = await caller.start(task_type)
                await caller.frames(operation_id)
                found = await traceback(caller, operation_id)
                assert "the line that is looked for" in found
                assert "ZeroDivisionError" in found
                assert "mcp_server/work/attempt.py" not in found
        shown = await command(tmp_path, "show", operation_id, "--url", process.url)
    assert "the line that is looked for" in shown.out


async def test_an_attempt_that_is_tried_again_is_explained_too(tmp_path: Path) -> None:
    """While the next one goes on."""
    server = failing_server(tmp_path)
    server.engine.is_private = server.check_exposure()
    async with serve(server) as caller:
        operation_id = await caller.start("second_time")
        async with caller.stream(operation_id) as stream:
            await stream.until("input_required")
        assert "ZeroDivisionError" in await traceback(caller, operation_id)


async def test_others_never_see_it(tmp_path: Path) -> None:
    """CVE class: information exposure through errors. Not its owner, on no way; an administrator does."""
    server = failing_server(tmp_path, auth="keys")
    server.engine.is_private = server.check_exposure()
    async with serve(server) as nobody:
        ring = KeyRing(lambda: server.engine.backend.documents)
        secrets = [(await ring.create("ann", scopes))[1] for scopes in ((READ, WRITE), (ADMIN,))]
        async with calling(nobody.url, token=secrets[0]) as owner, calling(nobody.url, token=secrets[1]) as admin:
            operation_id = await owner.start("broken")
            await owner.frames(operation_id)
            texts = [
                (await owner.http.get(path)).text
                for path in (
                    f"/progress/{operation_id}", f"/progress/{operation_id}?detail=1",
                    f"/progress/{operation_id}/stream", f"/progress/{operation_id}/ui-messages",
                    f"/tasks/{operation_id}", f"/tasks/{operation_id}/events", f"/tasks/{operation_id}/result",
                    "/tasks",
                )
            ]  # fmt: skip
            texts += [str(await owner.call("get_task_result", operation_id=operation_id))]
            texts += [str(await owner.call("get_task_progress", operation_id=operation_id, since=0))]
            assert "ZeroDivisionError" in texts[0]  # its type and message are for callers
            assert not [text for text in texts if "Traceback" in text or "the line that is looked for" in text]
            assert "the line that is looked for" in await traceback(admin, operation_id)


@pytest.mark.parametrize("how", ["masked", "mounted"])
async def test_a_server_that_is_not_private_shows_none(tmp_path: Path, how: str) -> None:
    """One that hides what failed, and one that an application of its own puts where it likes."""
    server = failing_server(tmp_path, mask_errors="on" if how == "masked" else "off")
    if how == "masked":
        server.engine.is_private = server.check_exposure()
    async with serve(server) as caller:
        operation_id = await caller.start("broken")
        await caller.frames(operation_id)
        assert await traceback(caller, operation_id) is None
