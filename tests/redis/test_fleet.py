"""Several replicas and workers on one Redis: any of them answers anything, and each takes its share."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from client_sdk import InputRequiredEvent, LongTaskClient, OutputEvent, TaskHandle
from client_sdk.wire import TaskStatus

from .processes import LONGTASKS, ROOT, Fleet, balancer, fleet
from .server import RedisServer, redis_server

PATIENCE = 60.0
"""Seconds after which something counts as never happening."""


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def members(redis: RedisServer, tmp_path: Path) -> Iterator[Fleet]:
    with fleet(redis.url, tmp_path) as members:
        yield members


@dataclass(frozen=True)
class Running:
    """Addresses of two replicas with two workers behind them; the tests that kill nothing share them."""

    a: str
    b: str


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("fleet")
    with redis_server(directory / "redis") as server, fleet(server.url, directory) as members:
        a, b = members.replica(), members.replica()
        workers = [members.worker(), members.worker()]
        assert all(worker.ready() for worker in workers)
        yield Running(a.url, b.url)


async def steps(handle: TaskHandle) -> list[object]:
    """The steps of a `count`, followed to its end."""
    return [event.data.data["step"] async for event in handle.events() if isinstance(event, OutputEvent)]


async def test_a_task_is_started_here_watched_there_and_run_elsewhere(running: Running) -> None:
    """Start on A, stream from B, run by a worker; both replicas know the result."""
    async with LongTaskClient(running.a) as on_a, LongTaskClient(running.b) as on_b:
        with anyio.fail_after(PATIENCE):
            handle = await on_a.start("count", {"steps": 50})
            assert await steps(on_b.task(handle.id)) == list(range(1, 51))
            assert await handle.result() == await on_b.task(handle.id).result()


async def test_a_cancel_reaches_a_worker_through_any_replica(running: Running) -> None:
    """Start on A, cancel on B: the work ends in the worker, and A's watcher sees the end."""
    async with LongTaskClient(running.a) as on_a, LongTaskClient(running.b) as on_b:
        with anyio.fail_after(PATIENCE):
            handle = await on_a.start("count", {"steps": 10_000, "pause": 0.05})
            async for event in handle.events():
                if isinstance(event, OutputEvent):
                    await on_b.task(handle.id).cancel("enough")
                    break
            assert (await handle.wait()).status is TaskStatus.CANCELLED


async def test_a_question_is_answered_through_any_replica(running: Running) -> None:
    """Asked by a worker, seen on A, answered on B."""
    async with LongTaskClient(running.a) as on_a, LongTaskClient(running.b) as on_b:
        with anyio.fail_after(PATIENCE):
            handle = await on_a.start("confirm")
            async for event in handle.events():
                if isinstance(event, InputRequiredEvent):
                    await on_b.task(handle.id).answer("go", {"action": "accept", "content": {"yes": True}})
                    break
            assert await handle.result() is True


async def test_two_replicas_behind_a_balancer_are_one_server(running: Running) -> None:
    """Clients know one address and every connection of theirs goes to another replica."""
    async with balancer(lambda: [running.a, running.b]) as url:
        with anyio.fail_after(PATIENCE):
            seen: list[list[object]] = []

            async def use(number: int) -> None:
                async with LongTaskClient(url) as client:
                    handle = await client.start("count", {"steps": number})
                    seen.append(await steps(handle))
                    assert (await handle.result())["sum"] == number * (number + 1) // 2

            async with anyio.create_task_group() as clients:
                for number in range(1, 13):
                    clients.start_soon(use, number)
            assert sorted(map(len, seen)) == list(range(1, 13))


async def test_a_replica_with_a_worker_of_its_own_needs_no_other(members: Fleet) -> None:
    """`longtasks serve` alone does everything."""
    replica = members.replica(works=True)
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            assert (await (await client.start("count", {"steps": 3})).result())["sum"] == 6


async def test_a_worker_that_does_not_know_a_type_leaves_it_to_one_that_does(members: Fleet) -> None:
    """In the middle of a deploy the old workers go on with what they know, and the new type waits for a new one."""
    replica, _ = members.replica("newer"), members.worker()
    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            unknown = await client.start("later", {"number": 1})
            known = await client.start("count", {"steps": 2})
            assert (await known.result())["sum"] == 3
            assert (await unknown.status()).status is TaskStatus.QUEUED
            members.worker("newer")
            assert await unknown.result() == 2


async def test_a_type_s_limit_holds_over_all_workers(running: Running) -> None:
    """`concurrency=1` means one in the whole fleet: no task starts before the one before it has ended."""
    async with LongTaskClient(running.a) as client:
        with anyio.fail_after(PATIENCE):
            handles = [await client.start("single", {"pause": 0.2}) for _ in range(6)]
            ends = [await handle.wait() for handle in handles]
    spans = sorted((end.started_at or "", end.completed_at or "") for end in ends)
    assert all(ended <= started for (_, ended), (started, _) in itertools.pairwise(spans))


async def test_workers_lists_the_fleet(members: Fleet, redis: RedisServer) -> None:
    """`longtasks workers` names each worker and what it runs; one that is killed disappears."""
    replica = members.replica()
    worker = members.worker()
    command = [*LONGTASKS, "workers", "--backend", redis.url]

    async def listed() -> dict[str, object]:
        done = await anyio.run_process([*command, "--json"], cwd=ROOT)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    async with LongTaskClient(replica.url) as client:
        with anyio.fail_after(PATIENCE):
            handle = await client.start("count", {"steps": 10_000, "pause": 0.05})
            seen = await listed()
            while not str(seen).count(handle.id):
                seen = await listed()
            assert [(w["pid"], w["operations"]) for w in seen["workers"]] == [(worker.pid, [handle.id])]  # type: ignore[attr-defined]
            plain = await anyio.run_process(command, cwd=ROOT)
            assert handle.id.encode() in plain.stdout
            worker.kill()
            while (await listed())["workers"]:
                pass


def test_a_fleet_that_is_a_file_has_no_workers() -> None:
    """One clear line."""
    done = subprocess.run(
        [*LONGTASKS, "workers", "--backend", "sqlite:///x.db"], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("longtasks: ")
    assert len(done.stderr.splitlines()) == 1
