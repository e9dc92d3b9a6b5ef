"""The commands on tasks: listing, showing, and cancelling or retrying one or many."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
import pytest

from tests.crash.processes import Process
from tests.server.servers import Caller, serve
from tests.server.stock import stock_server

from .commands import command
from .terminal import in_terminal

COUNT = 25


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with serve(stock_server(tmp_path)) as caller:
        yield caller


async def test_a_listing_goes_on_to_the_end(caller: Caller, tmp_path: Path) -> None:
    """By --cursor page by page, by --all at once; a page that is not the last says how to go on."""
    ids = [await caller.start("counts", {"n": 0}) for _ in range(COUNT)]
    url = ("--url", caller.url)
    everything = await command(tmp_path, "list", "--all", *url)
    assert [line.split()[0] for line in everything.out.splitlines()[1:]] == ids[::-1]
    first = await command(tmp_path, "list", *url)
    assert len(first.out.splitlines()) == 1 + 20
    cursor = first.err.split("--cursor ")[1].split(",")[0]
    second = await command(tmp_path, "list", "--cursor", cursor, "--json", *url)
    page = json.loads(second.out)
    assert [task["operation_id"] for task in page["operations"]] == ids[COUNT - 21 :: -1]
    assert page["next_cursor"] is None
    assert second.err == ""


@pytest.mark.parametrize("width", [80, 120])
async def test_a_listing_fits_the_terminal(caller: Caller, tmp_path: Path, width: int) -> None:
    """No column is lost to a long message, and no line is longer than the screen."""
    failed = await caller.start("fails", {"message": "there is no such page " * 20})
    await caller.frames(failed)
    listed = await in_terminal(["list", "--url", caller.url], width=width)
    heading, row = listed.text.splitlines()
    assert heading.split() == ["id", "status", "done", "type", "age", "took", "message"]
    assert row.split()[:4] == [failed[:8], "failed", "30%", "fails"]
    assert len(row) <= width
    assert row.endswith("…")
    assert "there is no" in row


async def test_control_characters_are_made_visible(caller: Caller, tmp_path: Path) -> None:
    """A message cannot write to the terminal of the one who looks at it, in no command and neither form."""
    evil = "\x1b]0;owned\x07\x9b31m\u202etxt"
    failed = await caller.start("fails", {"message": evil})
    await caller.frames(failed)
    for arguments in (
        ["list"],
        ["show", failed],
        ["watch", failed],
        ["result", failed],
        ["run", "fails", "--arg", f"message={evil}"],
    ):
        for form in ([], ["--json"]):
            ended = await command(tmp_path, *arguments, *form, "--url", caller.url)
            assert "owned" in ended.out + ended.err, arguments
            assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(ended.out + ended.err), arguments


async def test_an_id_may_be_shortened(caller: Caller, tmp_path: Path) -> None:
    """To a beginning that only one task has; of several the error names some."""
    ids = [await caller.start("counts", {"n": 1}) for _ in range(17)]  # two of them begin with the same digit
    url = ("--url", caller.url)
    for each in ids[:2]:
        found = await command(tmp_path, "show", each[:20], "--json", *url)
        assert json.loads(found.out)["operation_id"] == each
    shared = next(each[0] for each in ids if sum(other.startswith(each[0]) for other in ids) > 1)
    refused = await command(tmp_path, "show", shared, *url)
    assert refused.code == 2
    assert any(each in refused.err for each in ids)
    unknown = await command(tmp_path, "show", "zzz", *url)
    assert (unknown.code, unknown.out) == (1, "")


async def test_a_task_is_shown_with_what_there_is_to_know(caller: Caller, tmp_path: Path) -> None:
    """The question of one that waits comes with the command that answers it."""
    waiting = await caller.start("asks")
    async with caller.stream(waiting) as stream:
        await stream.until("input_required")
    shown = await command(tmp_path, "show", waiting, "--url", caller.url)
    facts = dict(line.split(maxsplit=1) for line in shown.out.splitlines() if not line.startswith(" "))
    assert facts["id"] == waiting
    assert facts["arguments"] == "{}"
    assert facts["status"] == "input required"
    assert f"longtasks answer {waiting} go VALUE" in shown.out


async def test_a_task_is_shown_with_what_it_was_started_with(caller: Caller, tmp_path: Path) -> None:
    """Also why it was cancelled, and when it might have run."""
    later = ["run", "counts", "--arg", "n=1", "--priority", "3", "--start-after", "3000", "--url", caller.url]
    process = Process(later, {})
    task_id = (await anyio.to_thread.run_sync(process.said, r"task +(\w+)"))[1]
    await command(tmp_path, "cancel", task_id, "--reason", "enough", "--url", caller.url)
    await anyio.to_thread.run_sync(process.ended)
    detail = json.loads((await command(tmp_path, "show", task_id, "--json", "--url", caller.url)).out)
    assert (detail["arguments"], detail["priority"], detail["reason"]) == ({"n": 1}, 3, "enough")
    assert detail["not_before"] > detail["created_at"]
    shown = (await command(tmp_path, "show", task_id, "--url", caller.url)).out
    for fact in ('arguments    {"n":1}', "priority     3", "reason       enough", "status       cancelled"):
        assert fact in shown.splitlines()


async def test_many_tasks_are_cancelled_and_retried_after_a_question(caller: Caller, tmp_path: Path) -> None:
    """The question has the number; without a terminal it wants --yes. What was retried is not retried again."""
    ids = [await caller.start("counts", {"n": 1, "gate": str(tmp_path)}) for _ in range(3)]
    url = ("--url", caller.url)
    wrong = await command(tmp_path, "cancel", *url)
    assert (wrong.code, "--all" in wrong.err) == (2, True)
    unsure = await command(tmp_path, "cancel", "--all", *url)
    assert (unsure.code, "Cancel 3 tasks" in unsure.err, "--yes" in unsure.err) == (2, True, True)
    refused = await in_terminal(["cancel", "--all", *url], typed="n\n")
    assert (refused.code, "Cancel 3 tasks" in refused.text) == (1, True)
    agreed = await in_terminal(["cancel", "--type", "counts", *url], typed="y\n")
    assert agreed.code == 0
    assert all(each in agreed.text for each in ids)
    for each in ids:
        assert (await caller.frames(each))[-1].data["status"] == "cancelled"
    again = await command(tmp_path, "retry", "--all", "--yes", *url)
    assert sorted(line.split()[0] for line in again.out.splitlines()) == sorted(ids)
    nothing = await command(tmp_path, "retry", "--status", "cancelled", "--yes", *url)
    assert (nothing.out, nothing.err.strip()) == ("", "no such tasks")
    await command(tmp_path, "cancel", "--all", "--yes", *url)


async def test_a_server_tells_its_types_and_its_health(caller: Caller, tmp_path: Path) -> None:
    """A line a type, with its arguments; the counts of the tasks."""
    url = ("--url", caller.url)
    types = await command(tmp_path, "types", *url)
    assert any(line.split()[0] == "counts" and " n " in f"{line} " for line in types.out.splitlines())
    assert {each["name"] for each in json.loads((await command(tmp_path, "types", "--json", *url)).out)} >= {"counts"}
    health = await command(tmp_path, "health", *url)
    assert (health.code, health.out.splitlines()[0]) == (0, "healthy")
    assert json.loads((await command(tmp_path, "health", "--json", *url)).out)["backend"] == "sqlite"


async def test_a_pipe_may_be_closed_early(caller: Caller) -> None:
    """`longtasks run … | head -1` ends without a traceback, and says that the task goes on."""
    run = ["run", "counts", "--arg", "n=3000"]
    line = f"{sys.executable} -m mcp_server {' '.join(run)} --url {caller.url} | head -1"
    ended = await in_terminal(["-c", line], program="/bin/sh")
    assert "Traceback" not in ended.text
    assert "Progress:" in ended.text
