"""The journal: scripts that crash find their tasks again."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from client_sdk import Event, JournalUnreadable, LongTaskClient, ProgressEvent
from client_sdk._journal import Entry, Journal
from tests.client_sdk.processes import ROOT, ServerProcess


def entries(path: Path) -> dict[str, Any]:
    tasks: dict[str, Any] = json.loads(path.read_text())["tasks"]
    return tasks


def numbers(events: Sequence[Event]) -> list[int]:
    return [event.number for event in events if event.number is not None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.json"


async def test_a_started_task_is_in_the_journal_until_its_end_was_seen(server: ServerProcess, path: Path) -> None:
    """Whichever way the end is seen."""
    async with LongTaskClient(server.url, journal=path) as client:
        for see_the_end in ("wait", "result", "stream", "status"):
            handle = await client.start("burst", {"count": 2})
            entry = entries(path)[handle.id]
            assert (entry["task_type"], entry["last_event_id"], entry["base_url"]) == ("burst", 0, server.url)
            assert entry["started_at"].endswith("Z")
            if see_the_end == "status":
                await client.task(handle.id).wait()
            else:
                await getattr(handle, see_the_end)()
            assert entries(path) == {}


async def test_resume_all_goes_on_at_the_next_event(server: ServerProcess, path: Path) -> None:
    """Over three lives of a client: every event once."""
    events: list[Event] = []
    async with LongTaskClient(server.url, journal=path) as client:
        handle = await client.start("burst", {"count": 9})
        async for event in handle.events():
            if len(events) == 4:
                break  # it was not dealt with and comes again
            events.append(event)
    for stop in (8, None):
        async with LongTaskClient(server.url, journal=path) as client:
            (handle,) = await client.resume_all()
            assert handle.task_type == "burst"
            async with handle.events() as rest:
                async for event in rest:
                    events.append(event)
                    if len(events) == stop:
                        break  # leaving the block in peace says that it was dealt with
    assert numbers(events) == list(range(1, len(events)))
    assert entries(path) == {}


async def test_a_task_that_ended_meanwhile_is_resumed_and_one_that_was_seen_is_not(
    server: ServerProcess, client: LongTaskClient, path: Path
) -> None:
    """Its result is news to the script; tasks the server has forgotten leave the journal."""
    async with LongTaskClient(server.url, journal=path) as first:
        ended = await first.start("burst", {"count": 1})
        await client.task(ended.id).wait()
        seen = await first.start("burst", {"count": 1})
        await seen.result()
        await Journal(path).record("long-gone", Entry(base_url=server.url, task_type="burst", started_at=""))
    async with LongTaskClient(server.url, journal=path) as second:
        assert [handle.id for handle in await second.resume_all()] == [ended.id]
        assert entries(path).keys() == {ended.id}


async def test_a_retry_is_in_the_journal_too(server: ServerProcess, path: Path) -> None:
    """It is a task of its own."""
    async with LongTaskClient(server.url, journal=path) as client:
        failed = await client.start("failing")
        await failed.wait()
        again = await failed.retry()
        assert entries(path).keys() == {again.id}


async def test_two_servers_share_a_journal(server: ServerProcess, path: Path) -> None:
    """A client takes up what is its own server's, and leaves the rest."""
    await Journal(path).record("elsewhere", Entry(base_url="http://elsewhere", task_type="x", started_at=""))
    async with LongTaskClient(server.url, journal=path) as client:
        assert await client.resume_all() == []
    assert entries(path).keys() == {"elsewhere"}


@pytest.mark.parametrize("text", [b"", b"[]", b'{"version": 2, "tasks": {}}', b'{"mine": 1}', b"\xff\x00", b'{"ver'])
async def test_a_file_that_is_no_journal_is_left_alone(
    server: ServerProcess, client: LongTaskClient, tmp_path: Path, text: bytes
) -> None:
    """Nothing of it is lost, the error names it, and no task is started that nobody would find again."""
    path = await anyio.Path(tmp_path / "tasks.json").absolute()
    await path.write_bytes(text)
    before = (await client.list()).operations
    async with LongTaskClient(server.url, journal=path) as with_journal:
        with pytest.raises(JournalUnreadable, match=r"tasks\.json"):
            await with_journal.resume_all()
        with pytest.raises(JournalUnreadable):
            await with_journal.start("burst", {"count": 1})
    assert await path.read_bytes() == text
    assert (await client.list()).operations == before


@pytest.mark.parametrize("name", ["no/such/folder/tasks.json", "."])
async def test_a_journal_that_cannot_be_written_starts_no_task(
    server: ServerProcess, client: LongTaskClient, path: Path, name: str
) -> None:
    """Nobody would find it again."""
    before = (await client.list()).operations
    async with LongTaskClient(server.url, journal=path.parent / name) as with_journal:
        with pytest.raises(OSError):
            await with_journal.start("burst", {"count": 1})
    assert (await client.list()).operations == before


def test_a_link_to_a_journal_stays_one_and_its_permissions_stay(path: Path) -> None:
    """Replacing the file changes its text and nothing else."""
    entry = Entry(base_url="u", task_type="t", started_at="s")
    link = path.with_name("link.json")
    link.symlink_to(path)
    asyncio.run(Journal(path).record("a", entry))
    path.chmod(0o600)
    asyncio.run(Journal(link).record("b", entry))
    assert link.is_symlink()
    assert entries(path).keys() == {"a", "b"}
    assert path.stat().st_mode & 0o777 == 0o600


async def test_without_a_journal_there_is_nothing_to_resume(client: LongTaskClient) -> None:
    """The call is a mistake, and says what is missing."""
    with pytest.raises(ValueError, match="journal"):
        await client.resume_all()


WRITER = """
import asyncio, sys
from client_sdk._journal import Entry, Journal

async def main(path, name):
    journal = Journal(path)
    for i in range(40):
        await journal.record(f"{name}-{i}", Entry(base_url="u", task_type="t", started_at="s"))
        await journal.advance(f"{name}-{i}", i)
        if i % 2:
            await journal.forget(f"{name}-{i}")

asyncio.run(main(*sys.argv[1:]))
"""


def test_processes_that_share_a_journal_lose_nothing(path: Path) -> None:
    """Four write at once, and at every moment the file is whole."""
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], cwd=ROOT) for name in ("a", "b", "c", "d")
    ]
    while any(process.poll() is None for process in processes):
        if path.exists():
            entries(path)
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    expected = {f"{name}-{i}": i for name in "abcd" for i in range(0, 40, 2)}
    assert {key: entry["last_event_id"] for key, entry in entries(path).items()} == expected


SCRIPT = """
import asyncio, sys
from client_sdk import LongTaskClient

async def main(url, journal):
    async with LongTaskClient(url, journal=journal) as client:
        handles = await client.resume_all() or [await client.start("burst", {"count": 12, "pause": 0.05})]
        async for event in handles[0].events():
            print(event.number, flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


def test_a_script_killed_at_any_event_is_rerun_without_a_loss(server: ServerProcess, path: Path) -> None:
    """`kill -9` in the middle of handling an event brings that one event again, and no other."""
    seen: list[str] = []
    for life in range(4):
        script = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, server.url, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert script.stdout is not None
        with script.stdout:
            for count, line in enumerate(script.stdout, start=1):
                seen.append(line.strip())
                if life < 3 and count == 4:
                    script.kill()
                    break
            seen += [line.strip() for line in script.stdout]
        script.wait()
    distinct = list(dict.fromkeys(seen))
    last = int(distinct[-1])
    assert distinct == [*map(str, range(1, last)), "None", str(last)]
    assert len(seen) - len(distinct) <= 3
    assert entries(path) == {}


async def test_the_journal_notes_an_event_when_the_next_is_asked_for(server: ServerProcess, path: Path) -> None:
    """So that one over which the script dies is not counted as dealt with."""
    async with LongTaskClient(server.url, journal=path) as client:
        handle = await client.start("burst", {"count": 3})
        async for event in handle.events():
            if event.number is not None and event.number > 1:
                assert entries(path)[handle.id]["last_event_id"] == event.number - 1
            if isinstance(event, ProgressEvent):
                break
