"""The command line in odd surroundings: other encodings, wrong variables, words that are no text, its speed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio.to_thread
import pytest

from tests.server.servers import Caller, serve
from tests.server.stock import stock_server

from .commands import command
from .terminal import ROOT, in_terminal


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with serve(stock_server(tmp_path)) as caller:
        yield caller


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "gbk", "latin-1", "ascii"])
async def test_every_terminal_shows_a_task_and_its_result(caller: Caller, encoding: str) -> None:
    """The exit code is the task's; JSON stays the JSON that it is."""
    run = ["run", "fails", "--arg", "message=größer… 漢字 😀", "--url", caller.url]
    failed = await in_terminal(run, PYTHONIOENCODING=encoding)
    assert failed.code == 1
    assert "Traceback" not in failed.text
    done = await in_terminal(["run", "counts", "--arg", "n=2", "--url", caller.url], PYTHONIOENCODING=encoding)
    assert (done.code, done.text.splitlines()[-1]) == (0, "2")


async def test_json_survives_an_encoding_that_cannot_carry_it(caller: Caller) -> None:
    """In a pipe: what is read back is what the task says."""
    said = "größer… 漢字 😀"
    words = [sys.executable, "-m", "mcp_server", "run", "fails", "--arg", f"message={said}", "--json"]
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            [*words, "--url", caller.url],
            cwd=ROOT,
            capture_output=True,
            env={"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "1"},
        )
    )
    assert done.returncode == 1
    assert said in json.loads(done.stdout)["error"]["message"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:1"), ("SSL_CERT_FILE", "/no/such/file"), ("HTTP_PROXY", "http://127.0.0.1:1")],
)
async def test_the_demo_needs_no_proxy(tmp_path: Path, variable: str, value: str) -> None:
    """Everything it does is on this machine."""
    ended = await command(tmp_path, "demo", "--duration", "0", "--steps", "1", **{variable: value})
    assert ended.code == 0, ended.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run", "counts", "--arg", "n=NaN"], 2, "NaN has no form in JSON"),
        (["run", "counts", "--arg", "n=[1, -Infinity]"], 2, "-Infinity has no form in JSON"),
        (["run", "counts", "--arg", b"n=caf\xe9"], 2, "word 4"),
        (["cancel", "x", "--reason", b"caf\xe9"], 2, "word 4"),
        (["show", b"caf\xe9"], 2, "word 2"),
        (["list", "--status", b"caf\xe9"], 2, "word 3"),
        (["list", "--token", "ü"], 1, "token"),
        (["list", "--url", "http://127.0.0.1:70000"], 1, "70000"),
    ],
    ids=repr,
)
async def test_what_cannot_be_sent_is_one_line(arguments: list[str | bytes], code: int, said: str) -> None:
    """And an exit code, never a traceback."""
    words: list[str | bytes] = [sys.executable, "-m", "mcp_server", *arguments]
    done = await anyio.to_thread.run_sync(lambda: subprocess.run(words, cwd=ROOT, capture_output=True, text=True))
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (code, "")
    assert said in line


@pytest.mark.parametrize("arguments", [["--version"], ["list", "--url", "http://127.0.0.1:9"]])
async def test_a_command_loads_what_it_needs(arguments: list[str]) -> None:
    """Neither the server nor the MCP SDK for a command that talks to a server, and no HTTP client for the version."""
    heavy = ["mcp", "mcp_types", "starlette", "uvicorn", "jsonschema", "docket", "redis", "mcp_server.app"]
    if arguments == ["--version"]:
        heavy += ["httpx2", "client_sdk._client", "rich"]
    code = (
        f"import sys; sys.argv = ['longtasks', *{arguments!r}]\n"
        "from mcp_server.cli.main import main\n"
        "try: main()\n"
        f"finally: print(*[m for m in {heavy!r} if m in sys.modules], file=sys.stderr)"
    )
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    )
    assert done.stderr.splitlines()[-1] == "", done.stderr
