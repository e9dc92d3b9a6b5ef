"""The application as it is typed: a file, a module, a factory, as an argument or as --app; and --reload."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from client_sdk import LongTaskClient
from mcp_server.cli.app_loader import load_server
from mcp_server.errors import ConfigurationError

SERVER = """
from mcp_server import LongTaskServer

server = LongTaskServer("NAME")


def factory():
    return LongTaskServer("made by NAME")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Modules of several kinds in the present folder, which are forgotten afterwards."""
    (tmp_path / "pack" / "inner").mkdir(parents=True)
    (tmp_path / "loose").mkdir()
    for path in ("pack/__init__.py", "pack/inner/__init__.py"):
        (tmp_path / path).write_text("")
    for path in ("app_one.py", "pack/inner/app_deep.py", "loose/app_loose.py"):
        (tmp_path / path).write_text(SERVER.replace("NAME", Path(path).stem))
    (tmp_path / "app_two.py").write_text(SERVER.replace("NAME", "two") + "\nother = LongTaskServer('other')\n")
    (tmp_path / "app_same.py").write_text("from app_one import server, server as same\n")
    (tmp_path / "app_none.py").write_text("def factory(): ...\n")
    (tmp_path / "json.py").write_text(SERVER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("LONGTASKS_APP", raising=False)
    before = set(sys.modules)
    monkeypatch.setattr("mcp_server.cli.app_loader.set_up_logging", lambda level: None)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("app_one.py", "app_one"),
        ("./app_one.py", "app_one"),
        ("app_one.py:server", "app_one"),
        ("app_one", "app_one"),
        ("app_one:server", "app_one"),
        ("app_one:factory", "made by app_one"),
        ("app_one.py:factory", "made by app_one"),
        ("loose/app_loose.py", "app_loose"),
        ("pack/inner/app_deep.py", "app_deep"),
        ("pack.inner.app_deep", "app_deep"),
        ("pack.inner.app_deep:factory", "made by app_deep"),
        ("app_same.py", "app_one"),
        ("app_two:other", "other"),
    ],
)
def test_an_application_is_found_as_it_is_typed(folder: Path, target: str, name: str) -> None:
    """Files with or without a folder, modules with or without a name, factories."""
    assert load_server(target).name == name
    assert load_server(str(folder / target) if target.startswith("loose") else target).name == name


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("app_two.py", "there are 2 servers; choose one of app_two.py:server and app_two.py:other"),
        ("app_none", "app_none has no LongTaskServer; a function that makes one is named as app_none:FUNCTION"),
        ("nothing.py", "there is no file "),
        ("loose/app_loose", "there is no module 'loose/app_loose'; did you mean 'loose/app_loose.py'?"),
        ("json.py", "there is another module named 'json'; rename the file"),
        (":server", "must be a file or a module"),
        ("app_one:", "must be a file or a module"),
        ("app_none:factory", "is a NoneType, not a LongTaskServer"),
    ],
)
def test_one_that_is_not_found_is_an_error_with_advice(folder: Path, target: str, said: str) -> None:
    """One line, which names what to type instead where that is known."""
    with pytest.raises(ConfigurationError) as refused:
        load_server(target)
    assert said in str(refused.value)


COUNTING = """
import anyio

from mcp_server import LongTaskServer, TaskContext

VERSION = 1
server = LongTaskServer("counting")


@server.task
async def count(*, task: TaskContext) -> list[int]:
    seen = list(task.state or [])
    while VERSION not in seen or VERSION == 1:
        seen.append(VERSION)
        await task.checkpoint(seen)
        await task.report(message=f"version {VERSION}")
        await anyio.sleep(0.05)
    return seen
"""


async def test_a_change_of_the_code_restarts_the_server_and_loses_no_task(tmp_path: Path) -> None:
    """The running task goes on in the new code from its last checkpoint; its caller notices nothing."""
    (tmp_path / "counting.py").write_text(COUNTING)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mcp_server", "serve", "counting.py", "--reload", "--port", str(port)]
    command += ["--backend", f"sqlite:///{tmp_path / 'tasks.db'}"]
    async with (
        await anyio.open_process(command, cwd=tmp_path, stdout=None) as process,
        anyio.create_task_group() as tasks,
    ):
        try:
            with anyio.fail_after(90):
                assert process.stderr is not None
                log = BufferedByteReceiveStream(process.stderr)
                await log.receive_until(b"listening on", 100_000)
                tasks.start_soon(_drain, log)
                async with LongTaskClient(f"http://127.0.0.1:{port}") as client:
                    handle = await client.start("count")
                    async for state in handle.states():
                        if state.message == "version 1":
                            break
                    (tmp_path / "counting.py").write_text(COUNTING.replace("VERSION = 1", "VERSION = 22"))
                    seen = await handle.result()
            assert seen[0] == 1
            assert seen[-1] == 22
            assert seen.count(22) == 1
        finally:
            process.terminate()
            tasks.cancel_scope.cancel()


async def _drain(log: BufferedByteReceiveStream) -> None:
    """A full pipe would stop the server in the middle of a log line."""
    with suppress(anyio.EndOfStream):
        while True:
            await log.receive()
