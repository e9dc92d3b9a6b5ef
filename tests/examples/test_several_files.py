"""An application whose task types are in another file than its server."""

from __future__ import annotations

from pathlib import Path

import pytest

from client_sdk import LongTaskClient
from tests.examples.running import serving

pytestmark = pytest.mark.anyio


async def test_the_task_types_of_the_other_file_are_served_under_their_prefix(tmp_path: Path) -> None:
    with serving("several_files", tmp_path) as server:
        async with LongTaskClient(server.url) as client:
            handle = await client.start("text_count", {"text": "to be or not to be"})
            assert await handle.result() == {"to": 2, "be": 2, "or": 1, "not": 1}
