"""What a person sees of a task."""

from __future__ import annotations

import functools
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio.lowlevel
import anyio.to_thread
import pytest
from rich.console import Console

from client_sdk import InputRequiredEvent, LongTaskClient, OutputEvent, ProgressEvent, StatusEvent, show
from client_sdk._display import displayed
from client_sdk.sync import LongTaskClient as BlockingClient
from client_sdk.wire import OutputData, Progress, Stage, TaskStatus
from tests.client_sdk.processes import ServerProcess

PLAIN = [f"Progress: {20 * k}% - Processing step {k}/5 - data_analysis" for k in range(1, 6)] + [
    "Progress: 100% - Completed 5 steps successfully"
]


def plain() -> tuple[Console, io.StringIO]:
    text = io.StringIO()
    return Console(file=text, force_terminal=False, force_jupyter=False, width=40), text


async def test_without_a_terminal_there_is_a_line_per_report(client: LongTaskClient) -> None:
    """Whole lines, however narrow the console believes to be."""
    console, text = plain()
    handle = await client.start("data_analysis", {"duration_seconds": 0, "steps": 5})
    snapshot = await show(handle, console=console)
    assert snapshot.status is TaskStatus.COMPLETED
    assert text.getvalue().splitlines() == PLAIN


def test_the_blocking_face_shows_the_same(server: ServerProcess, capsys: pytest.CaptureFixture[str]) -> None:
    """On standard output, unless told otherwise."""
    with BlockingClient(server.url) as client:
        client.start("data_analysis", {"duration_seconds": 0, "steps": 5}).show()
    assert capsys.readouterr().out.splitlines() == PLAIN


async def test_in_a_terminal_there_is_a_bar(client: LongTaskClient) -> None:
    """It ends full, with the closing message."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, force_jupyter=False, width=100, color_system=None)
    handle = await client.start("data_analysis", {"duration_seconds": 0, "steps": 5})
    await handle.show(console)
    last = [line for line in text.getvalue().splitlines() if "%" in line][-1]
    assert "100%" in last
    assert "Completed 5 steps successfully" in last
    assert "━" in last


async def test_in_a_narrow_terminal_the_message_gives_way(client: LongTaskClient) -> None:
    """Bar and figures stay, on one line."""
    text = io.StringIO()
    console = Console(file=text, force_terminal=True, force_jupyter=False, width=40, color_system=None)
    handle = await client.start("data_analysis", {"duration_seconds": 0, "steps": 5})
    await handle.show(console)
    last = [line for line in text.getvalue().splitlines() if "%" in line][-1]
    assert re.search(r"━{10} 100% \d:\d\d:\d\d Complete", last), last
    assert "…" in last


async def test_outputs_failures_and_cancellations_have_lines_of_their_own(client: LongTaskClient) -> None:
    """A person should not have to ask what happened."""
    for task_type, arguments, cancelled, expected in (
        ("burst", {"count": 3}, False, 'chunk: {"i": 3, "text": "line\\nbreak and data: colon"}'),
        ("failing", {}, False, "Failed: no such file"),
        ("idle", {}, True, "Cancelled: enough"),
    ):
        console, text = plain()
        handle = await client.start(task_type, arguments)
        if cancelled:
            await handle.cancel("enough")
        await handle.show(console)
        assert expected in text.getvalue().splitlines()


async def test_questions_are_shown(client: LongTaskClient) -> None:
    """With the key to answer them by."""
    handle = await client.start("asking")
    async for event in client.task(handle.id).events():
        if isinstance(event, InputRequiredEvent):
            await handle.answer("overwrite", {"confirm": True})
    console, text = plain()
    await handle.show(console)
    assert "Waiting for an answer - overwrite: Overwrite the index?" in text.getvalue().splitlines()


async def test_in_a_notebook_one_line_changes_in_place(client: LongTaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through IPython's own display, which is all a notebook is sure to have."""
    calls: list[tuple[dict[str, str], dict[str, Any]]] = []
    display = ModuleType("IPython.display")
    display.display = lambda data, **kwargs: calls.append((data, kwargs))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    handle = await client.start("data_analysis", {"duration_seconds": 0, "steps": 2})
    await handle.show(Console(file=io.StringIO(), force_jupyter=True))
    assert [data["text/plain"] for data, _ in calls] == [
        "[##########..........] Progress: 50% - Processing step 1/2 - data_analysis",
        "[####################] Progress: 100% - Processing step 2/2 - data_analysis",
        "[####################] Progress: 100% - Completed 2 steps successfully",
    ]
    assert [kwargs["update"] for _, kwargs in calls] == [False, True, True]
    assert len({kwargs["display_id"] for _, kwargs in calls}) == 1


def progress(percent: float, message: str, stage: str | None = None) -> ProgressEvent:
    where = Stage(name=stage, index=1, progress=percent) if stage else None
    data = Progress(
        operation_id="t1", task_type="reporting", progress=percent, message=message, status=TaskStatus.RUNNING,
        started_at=None, updated_at="", elapsed_seconds=3.0, estimated_remaining=4.0, current=None, total=None,
        stage=where,
    )  # fmt: skip
    return ProgressEvent(number=1, data=data)


def output(data: Any, topic: str | None) -> OutputEvent:
    return OutputEvent(number=1, data=OutputData(operation_id="t1", topic=topic, data=data))


def test_a_stage_is_named_and_an_older_message_left_out() -> None:
    """The last message of the stage before says nothing about the new one."""
    console, text = plain()
    with displayed("reporting", console) as display:
        for event in (
            progress(10, "frame 1", "upload"),
            progress(50, "frame 1", "render"),
            progress(60, "r1", "render"),
        ):
            display(event)
    lines = ["Progress: 10% - upload: frame 1", "Progress: 50% - render", "Progress: 60% - render: r1"]
    assert text.getvalue().splitlines() == lines


def test_pieces_of_a_text_are_joined_to_lines() -> None:
    """Other outputs have lines of their own, without a blank one for a newline at the end."""
    console, text = plain()
    with displayed("reporting", console) as display:
        for piece in ("He", "llo\nwor", "ld"):
            display(output(piece, "text"))
        display(output("frame 39\n", "log"))
        display(output("an end", "text"))
    lines = ["text: Hello", "text: world", "log: frame 39", "text: an end"]
    assert text.getvalue().splitlines() == lines


def terminal(encoding: str = "utf-8") -> tuple[Console, io.BytesIO]:
    written = io.BytesIO()
    file = io.TextIOWrapper(written, encoding=encoding, write_through=True)
    return Console(file=file, force_terminal=True, force_jupyter=False, width=100, color_system=None), written


def screen(written: io.BytesIO, encoding: str = "utf-8") -> list[str]:
    """The lines that stayed: the bar's earlier states are overwritten."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.getvalue().decode(encoding))
    return [line.split("\r")[-1] for line in text.splitlines() if line.strip()]


async def test_a_failed_task_is_marked_and_its_reason_said_once(client: LongTaskClient) -> None:
    """The bar has neither spinner nor estimate any more."""
    console, written = terminal()
    await (await client.start("failing")).show(console)
    lines = screen(written)
    assert sum("no such file" in line for line in lines) == 1
    assert lines[-1].startswith("✗ ")
    assert lines[-1].split()[-1] == "failed"


async def test_a_bar_says_how_to_answer(client: LongTaskClient) -> None:
    """With the values that are allowed; an estimate would be wrong meanwhile."""
    handle = await client.start("asking")
    console, written = terminal()
    async with anyio.create_task_group() as group:
        group.start_soon(handle.show, console)
        async for event in client.task(handle.id).events():
            if isinstance(event, InputRequiredEvent):
                while b"waits for an answer" not in written.getvalue():
                    await anyio.lowlevel.checkpoint()
                await handle.answer("overwrite", {"confirm": True})
    text = "\n".join(screen(written))
    assert f"longtasks answer {handle.id} overwrite VALUE    VALUE is true or false" in text


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "gbk", "latin-1", "ascii"])
async def test_every_terminal_gets_what_it_can_show(client: LongTaskClient, encoding: str) -> None:
    """Bar, spinner and messages; a strict encoding stops nothing."""
    console, written = terminal(encoding)
    with displayed("reporting", console) as display:
        display(progress(10, "größer… ✓ 漢字 😀"))
        display(output({"text": "漢字 😀"}, "log"))
    handle = await client.start("failing", {})
    await handle.show(console)
    assert "10%" in written.getvalue().decode(encoding)


@pytest.mark.parametrize("blocking", [False, True])
async def test_a_server_that_is_away_and_back_is_told(tmp_path: Path, blocking: bool) -> None:
    """One line each, and the bar says so meanwhile."""
    server = ServerProcess(tmp_path)
    server.start()
    console, text = plain()
    try:
        async with LongTaskClient(server.url, max_delay=0.1) as client:
            handle = await client.start("idle")
            if blocking:
                waiting = BlockingClient(server.url, max_delay=0.1)
                show_it = functools.partial(anyio.to_thread.run_sync, waiting.task(handle.id).show, console)
            else:
                show_it = functools.partial(handle.show, console)
            async with anyio.create_task_group() as group:
                group.start_soon(show_it)
                async with handle.events() as events:
                    async for event in events:
                        if isinstance(event, StatusEvent) and event.data.reason == "started":
                            break
                await anyio.to_thread.run_sync(server.kill)
                while "Trying again" not in text.getvalue():
                    await anyio.lowlevel.checkpoint()
                server.start()
                while "The server is back" not in text.getvalue():
                    await anyio.lowlevel.checkpoint()
                await handle.cancel("enough")
            if blocking:
                waiting.close()
    finally:
        server.kill()
    assert sum("Trying again" in line for line in text.getvalue().splitlines()) == 1
    assert text.getvalue().splitlines()[-1] == "Cancelled: enough"
