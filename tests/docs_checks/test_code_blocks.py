"""The Python on the pages runs as it stands.

How a page is read: a block that begins with the comment `# name.py` is that file, and
several with one name are its parts. A file that makes a `server` is served with
`longtasks serve --app name:server` (a page has at most one; without one the stock
server runs), any other file is run as a script, and then all blocks that are no files
run in order, in one Python. Whatever a page says about port 8081 reaches its server.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.docs_checks.pages import PAGES, ROOT, Block, blocks, links, name_of

FILE = re.compile(r"# (\w+)\.py\n")
SERVER = re.compile(r"^server = ", re.MULTILINE)
PORT = "127.0.0.1:8081"
PATIENCE = 60
"""Seconds one step of a page may take."""


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "TERM": "dumb"}


@contextmanager
def serving(folder: Path, application: str | None) -> Iterator[str]:
    """`longtasks serve` in the folder; gives host and port. What it logs is shown when the test fails."""
    command = [sys.executable, "-m", "mcp_server", "serve", "--port", "0"]
    if application is not None:
        command += ["--app", f"{application}:server"]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    try:
        yield listening_address(process.stderr)
    finally:
        process.terminate()
        print(process.communicate()[1])


def listening_address(log: IO[str]) -> str:
    for line in log:
        print(line, end="")
        if found := re.search(r"listening on http://(\S+)", line):
            return found[1]
    pytest.fail("the server did not start")


def run(folder: Path, command: list[str], what: str, stdin: str = "") -> None:
    result = subprocess.run(
        command, cwd=folder, env=environment(folder), input=stdin, capture_output=True, text=True, timeout=PATIENCE
    )
    assert result.returncode == 0, f"{what} failed:\n{result.stdout}{result.stderr}"


def files(page: Path) -> dict[str, str]:
    """File name without `.py` -> text."""
    found: dict[str, str] = {}
    for block in blocks(page, "python"):
        if match := FILE.match(block.text):
            found[match[1]] = found.get(match[1], "") + block.text + "\n\n"
    return found


def snippets(page: Path) -> list[Block]:
    return [block for block in blocks(page, "python") if not FILE.match(block.text)]


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=name_of)
def test_the_python_on_a_page_runs(page: Path, tmp_path: Path) -> None:
    """Nothing on the page raises, against a real server that serves what the page says."""
    written = files(page)
    servers = [name for name, text in written.items() if SERVER.search(text)]
    assert len(servers) <= 1, f"{page.name} has more than one server: {servers}"
    for name, text in written.items():
        (tmp_path / f"{name}.py").write_text(text)
    with serving(tmp_path, servers[0] if servers else None) as address:
        for name, text in written.items():
            if name not in servers:
                (tmp_path / f"{name}.py").write_text(text.replace(PORT, address))
                run(tmp_path, [sys.executable, f"{name}.py"], f"{page.name}: {name}.py")
        session = [(b.text.replace(PORT, address), page.name, b.line) for b in snippets(page)]
        script = str(Path(__file__).with_name("session.py"))
        run(tmp_path, [sys.executable, "-W", "error", script], page.name, json.dumps(session))


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "json")], ids=name_of)
def test_the_json_on_a_page_is_json(page: Path) -> None:
    """Every block marked `json` can be parsed."""
    for block in blocks(page, "json"):
        json.loads(block.text)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_within_the_tree_lead_somewhere(page: Path) -> None:
    """Every relative link of a page names a file that exists."""
    for target in links(page):
        path, _, _ = target.partition("#")
        if path and "://" not in path:
            assert (page.parent / path).exists(), f"{name_of(page)} links to {target}"
