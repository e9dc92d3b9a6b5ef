"""The deployment page and its example say only what is there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from mcp_server.settings import Settings

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "deployment"
FILES = sorted(path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
PAGE = ROOT / "docs" / "deployment.md"


@pytest.mark.parametrize("path", [PAGE, *FILES], ids=lambda path: path.name)
def test_every_variable_it_names_is_a_setting(path: Path) -> None:
    """A variable that nothing reads would be believed in."""
    named = set(re.findall(r"\bLONGTASKS_([A-Z_]+[A-Z])\b", path.read_text()))
    assert named <= {field.name.upper() for field in fields(Settings)}


def test_every_setting_in_the_page_s_table_is_one() -> None:
    """By its name."""
    rows = re.findall(r"^\| `(?!longtasks_)(\w+)`(?: \*)? \|", PAGE.read_text(), re.MULTILINE)
    assert rows
    assert set(rows) <= {field.name for field in fields(Settings)}


@pytest.mark.parametrize("unit", sorted(EXAMPLE.rglob("*.service")), ids=lambda path: path.name)
def test_the_units_are_well_formed(unit: Path, tmp_path: Path) -> None:
    """systemd itself reads them; that the program is not installed where they say is no matter here."""
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed")
    copy = tmp_path / unit.name.replace("@", "@8081")
    text = unit.read_text()
    copy.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run([analyze, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)
    assert unit.name.split("@")[0] not in done.stderr, done.stderr


def test_the_balancer_s_configuration_is_valid() -> None:
    """HAProxy itself reads it."""
    if (haproxy := shutil.which("haproxy")) is None:
        pytest.skip("haproxy is not installed")
    command = [haproxy, "-c", "-f", str(EXAMPLE / "haproxy.cfg")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_application_can_be_served() -> None:
    """`tasks:server` is there and knows its task type."""
    code = "from tasks import server; print([task_type.name for task_type in server.registry])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=EXAMPLE, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['render']"
