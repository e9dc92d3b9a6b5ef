"""What tasks and callers wrote, on an operator's terminal and in the log: seen, and without effect."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_sdk._text import visible, visible_json
from mcp_server import LongTaskServer, SyncTaskContext, TaskError
from mcp_server.hosting import set_up_logging
from tests.cli.commands import command
from tests.server.servers import make_server, serve

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\u202egnp.exe\x7f"
HARMFUL = set(EVIL) - set("]0;owned[2J31mgnp.exe")


@given(st.text())
def test_a_visible_text_has_no_character_that_does_something(text: str) -> None:
    """And JSON stays the same JSON."""
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in visible(text))
    dumped = json.dumps(text, ensure_ascii=False)
    shown = visible_json(dumped)
    assert json.loads(shown) == text
    assert not any(character < " " or "\x7f" <= character <= "\x9f" for character in shown)


def evil_server(directory: Path) -> LongTaskServer:
    server = make_server(directory)

    @server.task
    def evil(task: SyncTaskContext) -> str:
        task.report(50, message=EVIL)
        task.emit(EVIL)
        return EVIL

    @server.task
    def fails() -> None:
        raise TaskError(EVIL)

    return server


async def test_no_command_passes_on_what_a_task_wrote(tmp_path: Path) -> None:
    """CVE class: terminal escape injection. In every command, and both forms of output."""
    async with serve(evil_server(tmp_path)) as caller:
        at = ("--url", caller.url)
        ran = await command(tmp_path, "run", "evil", *at)
        task_id = ran.err.split()[1]
        outputs = [ran]
        for arguments in (
            ["watch", task_id],
            ["result", task_id],
            ["list"],
            ["run", "fails"],
            ["list", "--type", EVIL],
        ):
            outputs += [await command(tmp_path, *arguments, *at), await command(tmp_path, *arguments, *at, "--json")]
    for ended in outputs:
        assert not HARMFUL & set(ended.out + ended.err), ended
    assert json.loads(outputs[4].out)["output"] == EVIL


def test_a_log_record_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE class: log injection. Names with line breaks make no record of their own, nor does a traceback."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    try:
        set_up_logging("info")
        logging.getLogger("t").info("client %s", "x\n2026-01-01 INFO mcp_server: all is well\x1b[2J")
        try:
            raise ValueError("x\n2026-01-01 INFO mcp_server: all is well")
        except ValueError:
            logging.getLogger("t").exception("failed")
    finally:
        root.handlers[:], root.level = before
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if line.startswith("2026-01-01")] == []
    assert "\x1b" not in stream.getvalue()
    assert "x\\n2026-01-01 INFO" in lines[0]
