"""A script that is server and task function in one file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_function_of_main_runs_in_a_process(tmp_path: Path) -> None:
    """It is found again, and the script's main part does not run a second time."""
    script = Path(__file__).with_name("script.py")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, script, tmp_path / "tasks.db"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "result: 42 None\n"
    assert "in the process: __task_main__" in ended.stderr
