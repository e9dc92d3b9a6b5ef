"""What a person sees of a task."""

from __future__ import annotations

import io
import re
import sys
from types import ModuleType
from typing import Any

import pytest
from rich.console import Console

from client_sdk import InputRequiredEvent, LongTaskClient, show
from client_sdk.sync import LongTaskClient as BlockingClient
from client_sdk.wire import TaskStatus
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
