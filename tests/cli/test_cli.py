"""The `longtasks` command: what it prints, where it reads its settings, and how it ends when something is wrong."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import anyio.to_thread
import pytest

from client_sdk import wire
from tests.crash.processes import Process
from tests.server.servers import Caller, serve
from tests.server.stock import open_gate, stock_server

from .commands import Ended, command


def complaint(ended: Ended, code: int) -> str:
    """The one line a command that goes wrong says."""
    assert (ended.code, ended.out) == (code, ""), ended
    (line,) = ended.err.splitlines()
    assert line.startswith("longtasks: ")
    return line


# Wrong use and configuration.


async def test_a_server_that_cannot_start_says_why_in_one_line(tmp_path: Path) -> None:
    """And exits with 2; every line names what was wrong."""
    (tmp_path / "text.db").write_text("this is no database, and long enough not to be taken for an empty one. " * 20)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE things (a)")
        other.commit()
    (tmp_path / "app.py").write_text("thing = 3\ndef broken():\n    return 4\ndef greedy(x): ...\n")
    (tmp_path / "faulty.py").write_text("\n1 / 0\n")
    (tmp_path / "wrong.py").write_text(
        "from mcp_server import LongTaskServer\nserver = LongTaskServer()\nserver.task(retries=-1)(print)\n"
    )
    (tmp_path / "unreadable.py").write_text("def (\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        cases: list[tuple[list[str], dict[str, str], str]] = [
            (["--backend", "mysql://x"], {}, "unknown backend 'mysql://x'"),
            (["--backend", "sqlite:///"], {}, "names no file"),
            (["--backend", "sqlite:///no/such/folder/x.db"], {}, "does not exist"),
            (["--backend", "sqlite:///text.db"], {}, "text.db"),
            (["--backend", "sqlite:///other.db"], {}, "belongs to another program"),
            (["--backend", "sqlite:///."], {}, "is a directory"),
            (["--port", port], {}, f"cannot listen on 127.0.0.1:{port}: Address already in use"),
            (["--port", "70000"], {}, "70000"),
            (["--host", "no.such.host.invalid"], {}, "no.such.host.invalid"),
            (["--app", ":server"], {}, "must be a file or a module"),
            (["app.py", "--app", "other.py"], {}, "named twice"),
            (["--app", "no_such_module:server"], {}, "there is no module 'no_such_module'"),
            (["--app", "app:server"], {}, "app has no 'server'"),
            (["--app", "app:thing"], {}, "is a int, not a LongTaskServer"),
            (["--app", "app:broken"], {}, "is a int, not a LongTaskServer"),
            (["--app", "app:greedy"], {}, "app:greedy cannot be called: TypeError: greedy() missing 1 required"),
            (["--app", "faulty:server"], {}, "faulty.py, line 2)"),
            (["--app", "wrong:server"], {}, "wrong.py, line 3)"),
            (["--app", "unreadable:server"], {}, "SyntaxError: invalid syntax (unreadable.py, line 1)"),
            ([], {"LONGTASKS_PORT": "many"}, "LONGTASKS_PORT must be a number, got 'many'"),
            ([], {"LONGTASKS_LEASE": "-1"}, "lease must be above 0"),
            ([], {"LONGTASKS_DURABILITY": "some"}, "durability must be"),
            (["--log-level", "loud"], {}, "loud"),
        ]
        for arguments, environment, said in cases:
            ended = await command(tmp_path, "serve", *arguments, **{"LONGTASKS_PORT": "0", **environment})
            assert said in complaint(ended, 2), ended


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["--no-such-flag"], {}, "--no-such-flag"),
        (["no_such_command"], {}, "no_such_command"),
        (["serve", "--port", "x"], {}, "--port"),
        (["run"], {}, "TYPE"),
        (["run", "counts"], {"LONGTASKS_ARG": "n=1\nm"}, "expected name=value, got 'm'"),
        (["list", "--limit", "0"], {}, "--limit"),
        (["list"], {"LONGTASKS_LIMIT": "many"}, "LONGTASKS_LIMIT"),
    ],
)
async def test_wrong_use_is_told_in_one_line(
    tmp_path: Path, arguments: list[str], environment: dict[str, str], said: str
) -> None:
    """Exit code 2, what was wrong, and where to read on."""
    line = complaint(await command(tmp_path, *arguments, **environment), 2)
    assert said in line
    assert line.endswith("--help)")


async def test_without_a_command_there_is_help(tmp_path: Path) -> None:
    """And nothing else."""
    ended = await command(tmp_path)
    assert (ended.code, "longtasks: " in ended.out + ended.err) == (2, False)
    assert "Usage" in ended.out + ended.err


async def test_help_and_version_are_there(tmp_path: Path) -> None:
    """For people; every command is in the help."""
    ended = await command(tmp_path, "--help")
    for name in ("serve", "stdio", "demo", "run", "watch", "list", "result", "cancel", "answer"):
        assert name in ended.out
    serve_help = (await command(tmp_path, "serve", "--help")).out
    assert "LONGTASKS_PORT" in serve_help
    assert "LONGTASKS_NO_WORKER" in serve_help
    version = await command(tmp_path, "--version")
    assert (version.code, version.err) == (0, "")
    assert version.out.strip()


# Talking to a server.


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    (tmp_path / "server").mkdir()
    async with serve(stock_server(tmp_path / "server")) as caller:
        yield caller


async def test_a_task_is_run_and_its_result_printed(caller: Caller, tmp_path: Path) -> None:
    """Plain lines where there is no terminal; with --json nothing but the snapshot on standard output."""
    plain = await command(tmp_path, "run", "counts", "--arg", "n=3", "--url", caller.url)
    assert plain.code == 0, plain
    assert plain.out.splitlines()[-1] == "3"
    assert "step 3" in plain.out
    as_json = await command(tmp_path, "run", "counts", "--arg", "n=3", "--json", LONGTASKS_URL=caller.url)
    shown = json.loads(as_json.out)
    assert (as_json.code, shown["status"], shown["output"]) == (0, "completed", 3)
    assert set(shown) >= set(wire.Snapshot.model_fields)


async def test_an_argument_is_read_as_the_task_type_wants_it(caller: Caller, tmp_path: Path) -> None:
    """`123` is a number, unless a text is wanted; JSON within JSON text is JSON where no text is admitted."""
    run = await command(tmp_path, "run", "fails", "--arg", "message=123", "--url", caller.url)
    assert run.out.splitlines()[-1] == "Failed: 123"
    run = await command(tmp_path, "run", "counts", "--arg", 'n="2"', "--url", caller.url)
    assert run.out.splitlines()[-1] == "2"


async def test_a_task_is_watched_listed_and_its_result_fetched(caller: Caller, tmp_path: Path) -> None:
    """By its id, from any shell."""
    operation_id = await caller.start("counts", {"n": 2})
    watched = await command(tmp_path, "watch", operation_id, "--json", "--url", caller.url)
    lines = [json.loads(line) for line in watched.out.splitlines()]
    assert [(line["id"], line["event"]) for line in lines] == [
        (1, "status"), (2, "status"), (3, "progress"), (4, "progress"), (None, "progress"), (5, "done"),
    ]  # fmt: skip
    assert lines[-1]["data"]["status"] == "completed"
    listed = await command(tmp_path, "list", "--url", caller.url)
    assert operation_id in listed.out
    assert "completed" in listed.out
    found = json.loads((await command(tmp_path, "list", "--json", "--status", "completed", "--url", caller.url)).out)
    assert [task["operation_id"] for task in found["operations"]] == [operation_id]
    result = await command(tmp_path, "result", operation_id, "--url", caller.url)
    assert (result.code, result.out.strip()) == (0, "2")


async def test_flags_can_be_variables(caller: Caller, tmp_path: Path) -> None:
    """A repeated one has a value a line; what is typed wins; an empty variable is none."""
    environment = {"LONGTASKS_URL": caller.url, "LONGTASKS_JSON": "1"}
    arguments = {"LONGTASKS_ARG": 'n=2\ntext="two words"'}
    refused = complaint(await command(tmp_path, "run", "counts", **environment, **arguments), 1)
    assert "text" in refused
    run = await command(tmp_path, "run", "counts", "--arg", "n=1", **environment, **arguments)
    assert json.loads(run.out)["output"] == 1
    await caller.frames(await caller.start("counts", {"n": 1}))
    for variables, found in (({}, 2), ({"LONGTASKS_LIMIT": "1"}, 1), ({"LONGTASKS_STATUS": "failed"}, 0)):
        listed = await command(tmp_path, "list", **environment, **variables, LONGTASKS_TYPE="")
        assert json.loads(listed.out)["count"] == found
    plain = await command(tmp_path, "list", **{**environment, "LONGTASKS_JSON": "0"})
    assert plain.out.startswith("id ")


async def test_who_stops_watching_is_told_how_to_go_on(caller: Caller, tmp_path: Path) -> None:
    """Ctrl-C leaves the task alone; the exit code is the shell's own for it."""
    gate = str(tmp_path)
    process = Process(["run", "counts", "--arg", "n=1", "--arg", f"gate={gate}"], {"LONGTASKS_URL": caller.url})
    operation_id = (await anyio.to_thread.run_sync(process.said, r"task +(\w+)"))[1]
    process.signal(signal.SIGINT)
    assert await anyio.to_thread.run_sync(process.ended) == 130
    assert process.log.splitlines()[1:] == [f"stopped watching; the task goes on: longtasks watch {operation_id}"]
    open_gate(gate)
    watched = await command(tmp_path, "watch", operation_id, "--url", caller.url)
    assert (watched.code, watched.out.splitlines()[-1]) == (0, "Progress: 100% - 1 steps")


async def test_watching_a_failure_ends_as_one(caller: Caller, tmp_path: Path) -> None:
    """A script can go by the exit code, with and without --json."""
    operation_id = await caller.start("fails", {"message": "no such page"})
    for flags in ([], ["--json"]):
        watched = await command(tmp_path, "watch", operation_id, *flags, "--url", caller.url)
        assert (watched.code, watched.err) == (1, "")
        assert "no such page" in watched.out.splitlines()[-1]


async def test_a_task_is_cancelled(caller: Caller, tmp_path: Path) -> None:
    """The answer says what became of it."""
    operation_id = await caller.start("counts", {"n": 1, "gate": "never opened"})
    async with caller.stream(operation_id) as stream:
        await stream.until("progress")
    ended = await command(tmp_path, "cancel", operation_id, "--reason", "enough", "--url", caller.url)
    assert (ended.code, ended.out.strip()) == (0, "cancelled")
    again = await command(tmp_path, "cancel", operation_id, "--url", caller.url)
    assert again.out.strip() == "already cancelled"
    assert (await caller.frames(operation_id))[-1].data["reason"] == "enough"


async def test_a_question_is_answered(caller: Caller, tmp_path: Path) -> None:
    """By its key; once."""
    operation_id = await caller.start("asks")
    async with caller.stream(operation_id) as stream:
        await stream.until("input_required")
    url = ("--url", caller.url)
    for key, value in (("gone", "{}"), ("go", "yes")):
        assert key in complaint(await command(tmp_path, "answer", operation_id, key, value, *url), 1)
    for said in ("answered", "already answered"):
        ended = await command(tmp_path, "answer", operation_id, "go", "{}", *url)
        assert (ended.code, ended.out.strip()) == (0, said)
    assert (await command(tmp_path, "result", operation_id, *url)).out.strip() == "{}"


async def test_what_goes_wrong_is_one_line_and_an_exit_code(caller: Caller, tmp_path: Path) -> None:
    """1 when the task or the request failed, 3 when there is no server."""
    url = ("--url", caller.url)
    failed = await command(tmp_path, "run", "fails", "--arg", "message=no such page", *url)
    assert (failed.code, "no such page" in failed.err, "Traceback" in failed.err) == (1, True, False)
    assert "no_such" in complaint(await command(tmp_path, "run", "no_such", *url), 1)
    assert "n" in complaint(await command(tmp_path, "run", "counts", "--arg", "n=many", *url), 1)
    for name in ("watch", "result", "cancel"):
        assert "unknown" in complaint(await command(tmp_path, name, "unknown", *url), 1)
    wrong = await command(tmp_path, "run", "counts", "--arg", "n", *url)
    assert wrong.code == 2
    assert "name=value" in wrong.err


async def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    """With its address and exit code 3."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
    assert url in complaint(await command(tmp_path, "list", "--url", url), 3)


async def test_the_demo_runs_a_task_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """The first thing a newcomer sees: a server, a task, its progress, its result."""
    ended = await command(tmp_path, "demo", "--duration", "0.1", "--steps", "4")
    assert ended.code == 0, ended
    assert "Processing step 2/4 - data_analysis" in ended.out
    assert "Completed 4 steps successfully" in ended.out
    assert '"task_type": "data_analysis"' in ended.out
    assert os.listdir(tmp_path) == []
