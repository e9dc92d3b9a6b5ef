"""The examples of the client, as they stand."""

from __future__ import annotations

import ast
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.client_sdk.processes import ROOT, ServerProcess

EXAMPLES = ROOT / "examples"


def script(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_the_polling_example_runs(server: ServerProcess) -> None:
    """It asserts by itself."""
    with script(str(EXAMPLES / "polling" / "poll.py"), server.url) as run:
        assert run.stdout is not None
        lines = run.stdout.read().splitlines()
    assert run.returncode == 0
    assert lines[-1] == "100% - Completed 3 steps successfully [completed]"


def test_the_resume_example_may_be_killed(server: ServerProcess, tmp_path: Path) -> None:
    """Twice in mid-task, and the third run sees the end; no event is missing, two at most came twice."""
    lines: list[str] = []
    for life in range(3):
        with script(str(EXAMPLES / "resume" / "watch.py"), server.url, str(tmp_path / "tasks.json")) as run:
            assert run.stdout is not None
            for count, line in enumerate(run.stdout, start=1):
                lines.append(line.strip())
                if life < 2 and count == 8:
                    run.kill()
                    break
    assert run.returncode == 0
    events = [line.split()[1] for line in lines if not line.startswith("going on")]
    assert sum(line.startswith("going on") for line in lines) == 2
    distinct = list(dict.fromkeys(events))
    last = int(distinct[-1])
    assert distinct == [*map(str, range(1, last)), "-", str(last)]
    assert len(events) - len(distinct) <= 2


async def test_the_notebook_runs(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cell after cell, within a running event loop, as a notebook's kernel does it."""
    monkeypatch.setenv("LONGTASKS_URL", server.url)
    notebook: dict[str, Any] = json.loads((EXAMPLES / "notebook" / "tasks.ipynb").read_text())
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells):
        code = compile(cell, f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, names)
        if inspect.iscoroutine(result):
            await result
    assert "Progress: 100% - Completed 8 steps successfully" in capsys.readouterr().out
    names["client"].close()
