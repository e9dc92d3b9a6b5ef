"""How urgent a task is and when it may begin, as a program says it."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from client_sdk import LongTaskClient
from client_sdk.errors import Refused
from client_sdk.sync import LongTaskClient as BlockingClient
from mcp_server import LongTaskServer, Settings
from tests.server.servers import serve


async def test_a_client_says_how_urgent_a_task_is_and_when_it_may_begin(tmp_path: Path) -> None:
    """Both faces of the client; the server's line is in that order."""
    server = LongTaskServer("order", settings=Settings(backend=f"sqlite:///{tmp_path / 'tasks.db'}"))

    @server.task
    async def work() -> None:
        """Is never run here."""

    application = server.http_app()
    async with server.running(work=False), serve(application) as caller, LongTaskClient(caller.url) as client:
        later = await client.start("work", priority=9, start_after=3600)
        usual = await client.start("work")

        def start_urgent() -> str:
            with BlockingClient(caller.url) as blocking:
                return blocking.start("work", priority=9).id

        urgent = client.task(await anyio.to_thread.run_sync(start_urgent))
        positions = [(await handle.status()).queue_position for handle in (urgent, usual, later)]
        assert positions == [0, 1, 2]
        with pytest.raises(Refused, match="priority"):
            await client.start("work", priority=10)
