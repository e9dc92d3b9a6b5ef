"""Tasks that run in a process of their own: the same context, a real end, and nothing left behind."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from mcp_server import Engine
from mcp_server.access.principal import ANONYMOUS
from mcp_server.task import Kind, Status
from mcp_server.work import forking
from tests.server.engines import ended, log, make_engine, outputs, reached, run, task_type

from . import process_types, threaded_types


@pytest.fixture(autouse=True, params=["fork", "fresh interpreter"])
def started_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Everything holds for both ways to start a process: that of Linux, and that of the other systems."""
    if request.param != "fork":
        monkeypatch.setattr(forking, "CAN_FORK", False)
    return str(request.param)


def process_type(engine: Engine, function: Callable[..., Any], **policy: Any) -> None:
    task_type(engine, process=True, **policy)(function)


async def gone(pids: list[int]) -> None:
    """Wait until none of these processes is there."""
    with anyio.fail_after(10):
        for pid in pids:
            # Nobody is told of the end of a process that is not their child; and one whose parent died stays a zombie.
            while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
                await anyio.sleep(0.01)


async def test_the_context_is_whole_in_a_process(engine: Engine, capfd: pytest.CaptureFixture[str]) -> None:
    """Stages, output, checkpoint, question, summary; what it prints goes to standard error and spoils nothing."""
    process_type(engine, process_types.everything)
    async with engine.run():
        task = await engine.start("everything", {"text": "ünï"}, metadata={"who": "me"}, principal=ANONYMOUS)
        task = await reached(engine, task, lambda t: t.status is Status.INPUT_REQUIRED)
        assert (task.state, task.progress, task.message) == ({"page": 1}, 25.0, "ünï")
        await engine.answer(task.id, {"q1": {"action": "accept", "content": {"sure": True}}}, principal=ANONYMOUS)
        task = await ended(engine, task)
        events = {event.kind: event.data for event in await log(engine, task)}
    assert task.output.pop("pid") != os.getpid()
    assert task.output == {"attempt": 1, "metadata": {"who": "me"}, "sure": True, "set": [1]}
    assert (task.status, task.message) == (Status.COMPLETED, "All done")
    assert events[Kind.OUTPUT] == {"topic": "bytes", "data": {"raw": "/w=="}, "status": "running"}
    printed = capfd.readouterr()
    assert printed.out == ""
    for words in ("printed by the function", "written to descriptor 1", "said on standard error"):
        assert words in printed.err


ENDS = {
    "exit": ("EXIT", "exit(3)"),
    "os._exit": ("PROCESS_DIED", "exit code 7"),
    "killed": ("PROCESS_DIED", "killed by SIGKILL"),
    "leaves a child": ("PROCESS_DIED", "exit code 7"),
    "base exception": ("TASK_FAILED", "incident"),
    "exception": ("TASK_FAILED", "incident"),
    "task error": ("NO_PAGE", "no such page"),
    "no json": ("NOT_JSON", "The result cannot be written as JSON"),
    "too large": ("TOO_LARGE", "2000002 bytes"),
    "local": ("TASK_FAILED", "define it at the top level of its module"),
}


async def test_a_process_may_end_in_any_way(engine: Engine) -> None:
    """Each fails its own task, with what can be said of it and no word of the traceback."""
    engine.settings = replace(engine.settings, max_event_bytes=1_000_000)

    def local() -> None: ...

    process_type(engine, process_types.ends)
    process_type(engine, local)
    async with engine.run():
        # All at once: to start an interpreter takes longer than everything else here.
        started = {
            how: await engine.start("ends", {"how": how}, principal=ANONYMOUS)
            for how in [*ENDS, "well"]
            if how != "local"
        }
        started["local"] = await engine.start("local", principal=ANONYMOUS)
        tasks = {how: await ended(engine, task) for how, task in started.items()}
    assert tasks.pop("well").output == "well"
    for how, task in tasks.items():
        code, message = ENDS[how]
        assert task.error is not None, how
        assert task.error["error_code"] == code, how
        assert message in task.error["message"]
        assert "Traceback" not in str(task.error)


async def test_a_process_that_only_reports_stops_when_it_is_told(engine: Engine) -> None:
    """Whatever it had still to say, the cancel is what is recorded, and the server goes on."""
    process_type(engine, process_types.reports_for_ever)
    process_type(engine, process_types.resumes, retries=1, retry_delay=0)
    async with engine.run():
        task = await reached(
            engine,
            await engine.start("reports_for_ever", principal=ANONYMOUS),
            lambda t: t.message not in ("", "Started"),
        )
        await engine.cancel(task.id, principal=ANONYMOUS)
        assert (await ended(engine, task)).status is Status.CANCELLED
        assert (await run(engine, "resumes")).output == [2, {"page": 4}]


async def test_a_process_that_does_not_stop_is_killed_with_all_it_started(tmp_path: Path) -> None:
    """By a cancel, within a second, and by the end of the server, which gives the task back."""
    engine = make_engine(tmp_path)
    process_type(engine, process_types.never_reports)
    pids: list[int] = []
    async with engine.run():
        tasks = {name: await engine.start("never_reports", principal=ANONYMOUS) for name in ("cancelled", "given back")}
        for task in tasks.values():
            await reached(engine, task, lambda t: t.last_event_id >= 3)
            pids.extend((await outputs(engine, task))[0])
        assert len(pids) == 4
        asked, _ = await engine.cancel(tasks["cancelled"].id, principal=ANONYMOUS)
        over = await ended(engine, asked)
        assert over.completed_at is not None
        assert over.completed_at - asked.updated_at < 1.0
    await gone(pids)
    async with make_engine(tmp_path).run(work=False) as later:
        found = {name: (await later.get(task.id, principal=ANONYMOUS)).status for name, task in tasks.items()}
    assert found == {"cancelled": Status.CANCELLED, "given back": Status.QUEUED}


@pytest.mark.parametrize("asks", [False, True])
async def test_a_process_that_is_stopped_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asks: bool) -> None:
    """Whether it reports or waits for an answer: it is told, and killed only if it does not end."""
    monkeypatch.chdir(tmp_path)
    engine = make_engine(tmp_path, cancel_grace=60.0)
    process_type(engine, process_types.cleans_up)
    async with engine.run():
        task = await engine.start("cleans_up", {"asks": asks}, principal=ANONYMOUS)
        task = await reached(engine, task, lambda t: bool(t.input_requests) or t.message == "busy")
        await engine.cancel(task.id, principal=ANONYMOUS)
        assert (await ended(engine, task)).status is Status.CANCELLED
    assert (tmp_path / f"cleaned up {asks}").exists()


async def test_the_threads_of_a_process_wait_for_their_own_replies(engine: Engine) -> None:
    """Checkpoints are stored while another thread waits for an answer, and each gets what it asked for."""
    process_type(engine, process_types.speaks_in_threads)
    async with engine.run():
        task = await engine.start("speaks_in_threads", principal=ANONYMOUS)
        with anyio.fail_after(20):
            while True:
                seen = await engine.get(task.id, principal=ANONYMOUS)
                if "stored" in await outputs(engine, task):
                    break
                await engine.backend.wait(task.id, seen.last_event_id)
        await engine.answer(task.id, {"page": {"action": "accept", "content": {"page": 3}}}, principal=ANONYMOUS)
        task = await ended(engine, task)
    assert task.error is None
    assert task.output == [0, 1, 2, 3, {"page": 3}]


async def test_a_process_meets_the_limits_where_it_speaks(engine: Engine) -> None:
    """As a thread does; and what it reads from its standard input is nothing, not what the server says to it."""
    engine.settings = replace(engine.settings, max_event_bytes=1_000_000)
    process_type(engine, process_types.meets_limits)
    async with engine.run():
        task = await run(engine, "meets_limits")
    assert task.error is None
    assert task.output == ["", "", "TOO_LARGE", "TOO_LARGE", "TOO_LARGE", "TOO_LARGE", "DUPLICATE_QUESTION"]


async def test_a_task_finds_nothing_of_the_task_before_it(engine: Engine, started_by: str) -> None:
    """Its module, environment, folder and random numbers are those of a process of its own; a fork has one parent."""
    process_type(engine, process_types.counts)
    async with engine.run():
        found = [(await run(engine, "counts", {"leave": "this"})).output for _ in range(3)]
    assert [(f["seen"], f["left"]) for f in found] == [(1, None)] * 3
    assert len({f["random"] for f in found}) == 3
    parents = {f["parent"] for f in found}
    assert len(parents) == 1
    assert (parents == {os.getpid()}) == (started_by == "fresh interpreter")


async def test_a_function_that_needs_more_memory_than_it_may_fails(engine: Engine) -> None:
    """With a code of its own, at once and for good; what fits is done."""
    for function in (process_types.allocates, process_types.allocates_in_pieces):
        process_type(engine, function, memory=256 * 1024 * 1024, retries=2)
    async with engine.run():
        assert (await run(engine, "allocates", {"megabytes": 100})).output == 100 * 1024 * 1024
        for failed in (await run(engine, "allocates", {"megabytes": 300}), await run(engine, "allocates_in_pieces")):
            assert failed.error is not None
            assert (failed.error["error_code"], failed.error["details"]) == (
                "OUT_OF_MEMORY",
                {"memory": 256 * 1024 * 1024},
            )
            assert failed.attempt == 1


async def test_a_module_that_starts_threads_is_not_forked(
    engine: Engine, caplog: pytest.LogCaptureFixture, started_by: str
) -> None:
    """Its tasks, and all after them, run in fresh interpreters; the log says why."""
    process_type(engine, threaded_types.parent)
    process_type(engine, process_types.counts)
    async with engine.run():
        assert (await run(engine, "parent")).output == os.getpid()
        assert (await run(engine, "counts", {"leave": "this"})).output["parent"] == os.getpid()
    assert ("started by an import" in caplog.text) == (started_by == "fork")


@pytest.mark.parametrize("started_by", ["fork"], indirect=True)
async def test_a_process_that_is_forked_for_tasks_may_be_killed(engine: Engine, started_by: str) -> None:
    """The next task runs all the same, and the one after it in a fork again."""
    process_type(engine, process_types.counts)
    async with engine.run():
        first = (await run(engine, "counts", {"leave": "this"})).output["parent"]
        psutil.Process(first).kill()
        await gone([first])
        parents = [(await run(engine, "counts", {"leave": "this"})).output["parent"] for _ in range(2)]
    assert parents[1] not in (first, os.getpid())
    await gone([parents[1]])


async def test_processes_end_with_their_server(tmp_path: Path, started_by: str) -> None:
    """Also when it is killed: the task's process, what it started, and the process they are forked from."""
    program = (
        "import anyio, pathlib, sys\n"
        "from mcp_server.work import forking\n"
        f"forking.CAN_FORK = {started_by == 'fork'}\n"
        "from mcp_server.access.principal import ANONYMOUS\n"
        "from tests.server.engines import make_engine, outputs, task_type, reached\n"
        "from tests.work import process_types\n"
        "async def main():\n"
        "    engine = make_engine(pathlib.Path(sys.argv[1]))\n"
        "    task_type(engine, process=True)(process_types.never_reports)\n"
        "    async with engine.run():\n"
        "        task = await engine.start('never_reports', principal=ANONYMOUS)\n"
        "        await reached(engine, task, lambda t: t.last_event_id >= 3)\n"
        "        print(*(await outputs(engine, task))[0], flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    server = await anyio.open_process([sys.executable, "-c", program, str(tmp_path)], stderr=None)
    assert server.stdout is not None
    with anyio.fail_after(60):
        pids = [int(pid) for pid in (await server.stdout.receive()).split()]
    if started_by == "fork":
        pids.append(psutil.Process(pids[0]).ppid())
    server.kill()
    await server.aclose()
    await gone(pids)
