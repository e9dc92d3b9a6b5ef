"""An author's application: of several files, behind a proxy, with names of the author's choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from mcp_server import ConfigurationError, LongTaskServer, Registry, Settings

from .servers import make_server, serve


async def test_an_unknown_host_is_told_the_setting_that_would_admit_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a proxy with a public name the operator reads the value to set; the log has one line for each host."""
    async with serve(make_server(tmp_path)) as caller:
        for _ in range(3):
            refused = await caller.http.post("/mcp", json={}, headers={"Host": "tasks.example.com"})
            assert refused.status_code == 421
            assert "LONGTASKS_ALLOWED_HOSTS=tasks.example.com" in refused.text
        await caller.http.post("/mcp", json={}, headers={"Host": "other.example:81"})
        known = await caller.http.post("/mcp", json={}, headers={"Host": "localhost:1"})
        assert known.status_code != 421
    lines = [record.getMessage() for record in caplog.records if "421" in record.getMessage()]
    assert len(lines) == 2
    assert "'other.example:81'" in lines[1]
    async with serve(make_server(tmp_path, allowed_hosts="tasks.example.com")) as caller:
        admitted = await caller.http.post("/mcp", json={}, headers={"Host": "tasks.example.com"})
        assert admitted.status_code != 421


async def test_task_types_of_another_file_are_included(tmp_path: Path) -> None:
    """With a prefix before each name; a name that is taken is refused, and the tools are there too."""
    texts = Registry()

    @texts.task(timeout=60)
    async def shout(text: str) -> str:
        return text.upper()

    server = make_server(tmp_path)
    server.include(texts)
    server.include(texts, prefix="text_")
    with pytest.raises(ValueError, match="already a task type named 'shout'"):
        server.include(texts)
    assert {"shout", "text_shout"} <= {tool.name for tool in await server.list_tools()}
    assert server.registry.get("text_shout").policy.timeout == 60
    async with serve(server) as caller:
        started = await caller.call("start_long_task", task_type="text_shout", arguments={"text": "a"}, wait_seconds=20)
        assert started["data"]["output"] == "A"


def test_a_parameter_may_be_named_as_the_sdks_context() -> None:
    """Any name of an argument will do."""
    server = LongTaskServer("x")

    @server.task
    async def work(mcp_context: str) -> str:
        return mcp_context

    assert list(server.registry.get("work").input_schema["properties"]) == ["mcp_context"]


def test_tasks_in_memory_are_refused_with_the_reason() -> None:
    """They would end with the process, which is what this package is not for."""
    with pytest.raises(ConfigurationError, match="would keep tasks in memory"):
        Settings(backend="sqlite:///:memory:")
