"""Arguments that come as JSON text: read the same on every way a task is started."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from mcp.client.client import Client
from pydantic import BaseModel

from client_sdk.wire import WAIT_META_KEY
from tests.cli.commands import command

from .servers import Caller, make_server, serve


class Column(BaseModel):
    name: str
    sizes: list[int]


GIVEN: dict[str, Any] = {
    "columns": json.dumps([{"name": "7", "sizes": "[1, 2]"}]),
    "options": json.dumps({"deep": "[3]"}),
    "note": "[4]",
}
READ = {"columns": [{"name": "7", "sizes": [1, 2]}], "options": {"deep": [3]}, "note": "[4]"}


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    (tmp_path / "server").mkdir()
    server = make_server(tmp_path / "server")

    @server.task
    async def table(columns: list[Column], options: dict[str, list[int]], note: str) -> dict[str, Any]:
        """What it was called with."""
        return {"columns": columns, "options": options, "note": note}

    async with serve(server) as caller:
        yield caller


async def test_a_tool_of_its_own_reads_them(caller: Caller) -> None:
    async with Client(f"{caller.url}/mcp") as client:
        answer = await client.call_tool("table", GIVEN, meta=cast(Any, {WAIT_META_KEY: 20}))
    assert answer.structured_content == READ


async def test_the_start_tool_reads_them(caller: Caller) -> None:
    """Also where all the arguments are one JSON text."""
    for arguments in (GIVEN, json.dumps(GIVEN)):
        reply = await caller.call("start_long_task", task_type="table", arguments=arguments, wait_seconds=20)
        assert reply["data"]["output"] == READ, reply


async def test_rest_reads_them(caller: Caller) -> None:
    body = {"task_type": "table", "arguments": GIVEN, "wait_seconds": 20}
    answer = await caller.http.post("/tasks", json=body)
    assert answer.json()["output"] == READ


async def test_the_command_line_reads_them(caller: Caller, tmp_path: Path) -> None:
    flags = [flag for name, value in GIVEN.items() for flag in ("--arg", f"{name}={json.dumps(value)}")]
    ran = await command(tmp_path, "run", "table", *flags, "--json", "--url", caller.url)
    assert json.loads(ran.out)["output"] == READ
