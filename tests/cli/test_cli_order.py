"""`longtasks run` says how urgent a task is and when it may begin."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from tests.server.servers import serve
from tests.server.stock import stock_server

from .commands import command

DELAY = 0.3


async def test_run_takes_a_priority_and_a_delay(tmp_path: Path) -> None:
    """The task begins when its time has come; a priority that there is not is one line."""
    async with serve(stock_server(tmp_path)) as caller:
        delayed = ["run", "counts", "--arg", "n=1", "--priority", "9", "--start-after", str(DELAY), "--json"]
        done = await command(tmp_path, *delayed, LONGTASKS_URL=caller.url)
        assert done.code == 0, done.err
        task = json.loads(done.out)
        created, started = (datetime.fromisoformat(task[name]) for name in ("created_at", "started_at"))
        assert (started - created).total_seconds() >= DELAY
        wrong = await command(tmp_path, "run", "counts", "--priority", "10", LONGTASKS_URL=caller.url)
        assert wrong.code == 2
        assert "--priority" in wrong.err
        assert len(wrong.err.splitlines()) == 1
