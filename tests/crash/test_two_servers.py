"""Two server processes on one file: either answers for both, and one goes on where the other died."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import anyio
import pytest

from .audit import attempts, check_log, check_witness, outputs, witness
from .clients import Service, asks, result, says, until
from .processes import LEASE, ServerProcess, serving

APP = "tests.crash.application:server"
TAKEOVER = 10.0
"""Seconds that a takeover may last on a machine that is busy with other things."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Sequence[ServerProcess]]:
    with serving(APP, tmp_path, count=2) as servers:
        yield servers


async def test_one_goes_on_where_the_other_died(pair: Sequence[ServerProcess], tmp_path: Path) -> None:
    """Started on A, followed from B: A is killed, and within seconds B takes the task up at its checkpoint."""
    async with Service(pair[0]) as a, Service(pair[1]) as b:
        task_id = await (await a.start()).start("count", {"steps": 10, "hold_at": 6})
        caller = await b.start()
        frame = await until(caller, task_id, says(5))
        assert frame.data["data"]["pid"] == pair[0].pid
        a.kill()
        with anyio.fail_after(LEASE + TAKEOVER):
            frames = await b.follow(task_id)
        check_log(frames)
        assert attempts(frames) == [1, 2]
        assert outputs(frames)[-1]["pid"] == pair[1].pid
        assert (await result(caller, task_id))["result"]["sum"] == 55
    check_witness(tmp_path)


async def test_a_task_is_cancelled_through_the_other_server(pair: Sequence[ServerProcess]) -> None:
    """B takes the cancel of what A runs; the stream at A and the one at B both end with it."""
    async with Service(pair[0]) as a, Service(pair[1]) as b:
        task_id = await (await a.start()).start("count", {"steps": 2, "hold_at": 2})
        caller = await b.start()
        await until(caller, task_id, says(1))
        await caller.call("cancel_task", operation_id=task_id, reason="from B")
        frames = await a.follow(task_id)
        assert frames == await b.follow(task_id)
        assert frames[-1].data == {"status": "cancelled", "reason": "from B"}


async def test_a_question_is_answered_through_the_other_server(pair: Sequence[ServerProcess]) -> None:
    """A asks, B is told, and A goes on."""
    async with Service(pair[0]) as a, Service(pair[1]) as b:
        task_id = await (await a.start()).start("interview")
        caller = await b.start()
        for key, name in (("first", "Ada"), ("second", "Bob")):
            await until(caller, task_id, asks(key))
            await caller.call("respond_to_task", operation_id=task_id, key=key, response={"name": name})
        assert (await result(caller, task_id))["result"] == {"first": "Ada", "second": "Bob"}
        assert attempts(await a.follow(task_id)) == [1]


async def test_no_attempt_runs_twice(tmp_path: Path) -> None:
    """Of 80 tasks started on both at once each is run once, by either of them."""
    with serving(APP, tmp_path, count=2, concurrency=4) as pair:
        async with Service(pair[0]) as a, Service(pair[1]) as b:
            callers = [await a.start(), await b.start()]
            task_ids = [""] * 80

            async def start(number: int) -> None:
                arguments = {"steps": 2, "pause": 0.02}
                task_ids[number] = await callers[number % 2].start("count", arguments)

            async with anyio.create_task_group() as starting:
                for number in range(len(task_ids)):
                    starting.start_soon(start, number)
            for task_id in task_ids:
                frames = await b.follow(task_id)
                check_log(frames)
                assert attempts(frames) == [1]
    begun = [line["task"] for line in witness(tmp_path) if "first" in line]
    assert sorted(begun) == sorted(task_ids)


async def test_both_servers_work(tmp_path: Path) -> None:
    """With room for one task each, two tasks that wait for an answer are held by two processes."""
    with serving(APP, tmp_path, count=2, concurrency=1) as pair:
        async with Service(pair[0]) as a, Service(pair[1]) as b:
            caller = await a.start()
            await b.start()
            for task_id in [await caller.start("interview") for _ in range(2)]:
                await until(caller, task_id, asks("first"))
            assert {line["pid"] for line in witness(tmp_path)} == {pair[0].pid, pair[1].pid}


async def test_the_concurrency_of_a_type_holds_over_both_servers(pair: Sequence[ServerProcess], tmp_path: Path) -> None:
    """A type that may run twice at once never does so three times, though either process would have room."""
    async with Service(pair[0]) as a, Service(pair[1]) as b:
        callers = [await a.start(), await b.start()]
        task_ids = [await callers[number % 2].start("narrow", {"pause": 0.1}) for number in range(12)]
        for task_id in task_ids:
            await a.follow(task_id)
    inside = 0
    for line in sorted(witness(tmp_path), key=lambda line: line["at"]):
        inside += 1 if line["enters"] else -1
        assert 0 <= inside <= 2
    assert {line["task"] for line in witness(tmp_path)} == set(task_ids)


async def test_a_server_that_wakes_up_too_late_is_refused(pair: Sequence[ServerProcess], tmp_path: Path) -> None:
    """A stands still for longer than its lease: the attempt that B has begun is the only one whose words count."""
    async with Service(pair[0]) as a, Service(pair[1]) as b:
        task_id = await (await a.start()).start("count", {"steps": 200, "pause": 0.02})
        caller = await b.start()
        await until(caller, task_id, says(5))
        await pair[0].freeze()
        await until(caller, task_id, lambda f: f.event == "output" and f.data["data"]["attempt"] == 2)
        pair[0].signal(signal.SIGCONT)
        frames = await b.follow(task_id)
        check_log(frames)
        assert attempts(frames) == [1, 2]
        assert (await result(caller, task_id))["result"]["sum"] == 200 * 201 // 2
        # It is of use again, and has not gone on with what is no longer its own.
        assert (await result(await a.caller(), await (await a.caller()).start("count", {"steps": 1})))["result"]
        late = [line for line in witness(tmp_path) if line["task"] == task_id and line["pid"] == pair[0].pid]
        until_stopped = [f for f in frames if f.event == "output" and f.data["data"]["attempt"] == 1]
        assert len(late) <= len(until_stopped) + 3


async def test_one_key_makes_one_task_over_both_servers(pair: Sequence[ServerProcess]) -> None:
    """Twenty callers at once, half of them at either server, all get the same task."""
    async with Service(pair[0]) as a, Service(pair[1]) as b:
        callers = [await a.start(), await b.start()]
        got: list[str] = []

        async def start(number: int) -> None:
            got.append(await callers[number % 2].start("count", {"steps": 3}, idempotency_key="once only"))

        for _ in range(3):
            async with anyio.create_task_group() as starting:
                for number in range(20):
                    starting.start_soon(start, number)
        assert len(got) == 60
        assert len(set(got)) == 1
        listed = await callers[0].call("list_operations")
        assert listed["data"]["count"] == 1
        assert attempts(await b.follow(got[0])) == [1]


async def test_readers_move_from_server_to_server(pair: Sequence[ServerProcess], tmp_path: Path) -> None:
    """Both are killed in turn, six times; a reader that goes to whoever is there sees every number once."""
    services = [Service(process) for process in pair]
    async with services[0], services[1]:
        caller = await services[0].start()
        task_id = await caller.start("count", {"steps": 60, "pause": 0.02})
        cursor, events = 0, list[str]()
        for turn in itertools.count():
            here, other = services[turn % 2], services[(turn + 1) % 2]
            caller = await here.caller()
            if turn < 6:
                await other.start()
            async with caller.stream(task_id, cursor) as stream:
                async for frame in stream:
                    if frame.id is not None:
                        assert frame.id == cursor + 1
                        cursor = frame.id
                        events.append(frame.event)
                    if turn < 6 and len(events) >= 15 * (turn + 1):
                        break
            if "done" in events:
                break
            here.kill()
        assert events.count("done") == 1
        check_log(await here.follow(task_id))
    check_witness(tmp_path)
