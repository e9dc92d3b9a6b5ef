"""What becomes of one task when the process that runs it dies, and the next one starts on its file."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest

from tests.server.servers import Caller

from .audit import attempts, check_log, check_witness, outputs, witness
from .clients import Service, asks, result, saved, says, until
from .processes import PATIENCE, serving

APP = "tests.crash.application:server"


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[Service]:
    with serving(APP, tmp_path) as (process,):
        async with Service(process) as service:
            yield service
    check_witness(tmp_path)


async def failure(caller: Caller, task_id: str) -> dict[str, Any]:
    reply = await caller.call("get_task_result", operation_id=task_id)
    assert reply["error_code"] == "TASK_FAILED", reply
    error: dict[str, Any] = (await caller.snapshot(task_id))["error"]
    return error


async def test_a_killed_task_goes_on_from_its_checkpoint(service: Service) -> None:
    """Killed after step 7 of 10, the second attempt begins with step 8 and the result counts every step once."""
    caller = await service.start()
    task_id = await caller.start("count", {"steps": 10, "hold_at": 8})
    await until(caller, task_id, saved(7))
    service.kill()
    caller = await service.start()
    frames = await service.follow(task_id)
    check_log(frames)
    assert [said["step"] for said in outputs(frames)] == list(range(1, 11))
    assert (await result(caller, task_id))["result"] == {"sum": 55, "first": 8, "attempt": 2}


async def test_progress_does_not_fall_when_a_task_goes_on(service: Service) -> None:
    """The bar stands where the checkpoint left it, in the snapshot and over the whole stream."""
    caller = await service.start()
    task_id = await caller.start("count", {"steps": 10, "hold_at": 8})
    await until(caller, task_id, says(7))
    service.kill()
    await service.start()
    frames = await service.follow(task_id)
    bar = [frame.data["progress"] for frame in frames if frame.event == "progress"]
    assert bar == sorted(bar)
    assert bar[-1] == 100


async def test_a_task_that_must_not_run_twice_fails_once(service: Service, tmp_path: Path) -> None:
    """`on_interrupt="fail"`: INTERRUPTED, what it reported stays readable, and its function is not called again."""
    caller = await service.start()
    task_id = await caller.start("once")
    await until(caller, task_id, lambda frame: frame.event == "progress")
    service.kill()
    caller = await service.start()
    frames = await service.follow(task_id)
    check_log(frames)
    assert frames[-1].event == "error"
    assert frames[-1].data["error_code"] == "INTERRUPTED"
    assert [frame.data["message"] for frame in frames if frame.event == "progress"] == ["half done"]
    assert (await failure(caller, task_id))["error_code"] == "INTERRUPTED"
    assert len(witness(tmp_path)) == 1


async def test_a_task_that_kills_its_process_is_given_up_after_max_attempts(service: Service, tmp_path: Path) -> None:
    """A supervisor starts the server again each time; the third death is the task's last, and the server lives."""
    caller = await service.start()
    task_id = await caller.start("suicidal")
    (tmp_path / "started").touch()
    for _ in range(3):
        assert await service.process.ended() == -9
        service.down()
        caller = await service.start()
    frames = await service.follow(task_id)
    check_log(frames)
    assert attempts(frames) == [1, 2, 3]
    assert (await failure(caller, task_id))["error_code"] == "MAX_ATTEMPTS"
    assert len(witness(tmp_path)) == 3
    assert (await caller.http.get("/health")).status_code == 200


async def test_a_task_that_stores_checkpoints_survives_more_deaths_than_max_attempts(
    service: Service, tmp_path: Path
) -> None:
    """Four kills with `max_attempts=2`, each after a new checkpoint: it goes on, and its snapshot counts them."""
    caller = await service.start()
    task_id = await caller.start("steady", {"deaths": 4})
    (tmp_path / "started").touch()
    for _ in range(4):
        assert await service.process.ended() == -9
        service.down()
        caller = await service.start()
    frames = await service.follow(task_id)
    check_log(frames)
    assert attempts(frames) == [1, 2, 3, 4, 5]
    assert (await result(caller, task_id))["result"] == 4
    snapshot = (await caller.http.get(f"/progress/{task_id}")).json()
    assert (snapshot["interruptions"], snapshot["interruptions_in_a_row"]) == (4, 1)


async def test_the_process_of_a_task_dies_with_the_server(service: Service) -> None:
    """Nobody is left behind who does the work beside the next attempt."""
    caller = await service.start()
    task_id = await caller.start("apart")
    frame = await until(caller, task_id, lambda frame: frame.event == "output")
    child = psutil.Process(frame.data["data"]["pid"])
    service.kill()
    await anyio.to_thread.run_sync(child.wait, PATIENCE)
    caller = await service.start()
    assert (await result(caller, task_id))["result"] == 2


async def test_a_question_that_was_answered_is_not_asked_again(service: Service) -> None:
    """Killed right after the answer was acknowledged; the second attempt has it and asks only what is left."""
    caller = await service.start()
    task_id = await caller.start("interview")
    await until(caller, task_id, asks("first"))
    reply = await caller.call("respond_to_task", operation_id=task_id, key="first", response={"name": "Ada"})
    service.kill()
    assert reply["data"]["answered"]
    caller = await service.start()
    await until(caller, task_id, asks("second", attempt=2))
    await caller.call("respond_to_task", operation_id=task_id, key="second", response={"name": "Bob"})
    assert (await result(caller, task_id))["result"] == {"first": "Ada", "second": "Bob"}
    asked = [f.data["input_requests"].keys() for f in await service.follow(task_id) if f.event == "input_required"]
    assert {"first"} == asked[0]
    assert all(keys == {"second"} for keys in asked[1:])


async def test_an_open_question_is_asked_again(service: Service) -> None:
    """It was not answered when the process died; the next attempt asks it, and the answer counts."""
    caller = await service.start()
    task_id = await caller.start("interview")
    await until(caller, task_id, asks("first"))
    service.kill()
    caller = await service.start()
    await until(caller, task_id, asks("first", attempt=2))
    for key, name in (("first", "Ada"), ("second", "Bob")):
        await until(caller, task_id, asks(key, attempt=2))
        await caller.call("respond_to_task", operation_id=task_id, key=key, response={"name": name})
    assert (await result(caller, task_id))["result"] == {"first": "Ada", "second": "Bob"}


async def test_a_question_can_be_answered_while_nobody_runs_its_task(tmp_path: Path) -> None:
    """The lease of the dead process holds the task for long; the answer is taken, and is there for the next attempt."""
    with serving(APP, tmp_path, count=2, lease=5.0) as (first, second):
        async with Service(first) as dead, Service(second) as service:
            caller = await dead.start()
            task_id = await caller.start("interview")
            await until(caller, task_id, asks("first"))
            dead.kill()
            caller = await service.start()
            reply = await caller.call("respond_to_task", operation_id=task_id, key="first", response={"name": "Ada"})
            assert reply["data"]["answered"]
            assert reply["data"]["attempt"] == 1
            await until(caller, task_id, asks("second", attempt=2))
            await caller.call("respond_to_task", operation_id=task_id, key="second", response={"name": "Bob"})
            assert (await result(caller, task_id))["result"] == {"first": "Ada", "second": "Bob"}


async def test_a_cancel_that_was_acknowledged_outlives_the_process(service: Service, tmp_path: Path) -> None:
    """The function did not hear it in time; the next process records the end and does not run it again."""
    caller = await service.start()
    task_id = await caller.start("deaf")
    await until(caller, task_id, lambda frame: frame.event == "progress")
    reply = await caller.call("cancel_task", operation_id=task_id, reason="enough")
    service.kill()
    assert reply["data"]["outcome"] == "cancel_requested"
    await service.start()
    frames = await service.follow(task_id)
    assert frames[-1].event == "done"
    assert frames[-1].data == {"status": "cancelled", "reason": "enough"}
    assert len(witness(tmp_path)) == 1
