"""What gets lost when a process of a fleet dies, stands still or is told to stop: nothing that was acknowledged.

Each test ends by reading the whole log of its tasks (`audited`), as any reader would, and
what their attempts wrote down as they worked (`check_witness`).
"""

from __future__ import annotations

import random
import re
import signal
import time
from operator import attrgetter
from pathlib import Path

import anyio
import anyio.to_thread

from client_sdk import LongTaskClient, OutputEvent
from tests.crash.audit import attempts, audited, check_witness, outputs
from tests.crash.clients import result, saved, says, until
from tests.server.servers import Frame, calling

from .processes import LEASE, Fleet, Process, balancer, fleet
from .server import RedisServer

PATIENCE = 120.0
"""Seconds after which something counts as never happening."""
NOTICED = 4.0
"""Seconds a busy machine may take to notice that a lease has run out, and to start the next attempt."""


def started(attempt: int, frame: Frame) -> bool:
    return frame.event == "status" and frame.data["reason"] == "started" and frame.data["attempt"] == attempt


def ran(frame: Frame, workers: list[Process]) -> Process:
    """The worker that emitted this."""
    return next(worker for worker in workers if worker.pid == frame.data["data"]["pid"])


async def test_the_tasks_of_a_killed_worker_go_on_elsewhere_from_their_checkpoint(
    members: Fleet, tmp_path: Path
) -> None:
    """Within the lease, as a new attempt that begins with the first step that was not saved."""
    replica, workers = members.replica(), [members.worker(), members.worker()]
    assert all(worker.ready() for worker in workers)
    async with calling(replica.url) as caller:
        with anyio.fail_after(PATIENCE):
            task_id = await caller.start("count", {"steps": 10, "hold_at": 8})
            frame = await until(caller, task_id, says(7))
            await until(caller, task_id, saved(7))
            ran(frame, workers).kill()
            killed = time.monotonic()
            await until(caller, task_id, lambda frame: started(2, frame))
            assert time.monotonic() - killed <= LEASE + NOTICED
            (log,) = await audited(caller, [task_id])
            assert [said["step"] for said in outputs(log)] == list(range(1, 11))
            assert (await result(caller, task_id))["result"] == {"sum": 55, "first": 8, "attempt": 2}
    check_witness(tmp_path)


async def test_a_worker_that_comes_back_too_late_is_refused(members: Fleet, tmp_path: Path) -> None:
    """Frozen for longer than its lease, it wakes up in the middle of its attempt, and adds nothing to the log."""
    replica, workers = members.replica(), [members.worker(), members.worker()]
    assert all(worker.ready() for worker in workers)
    async with calling(replica.url) as caller:
        with anyio.fail_after(PATIENCE):
            task_id = await caller.start("count", {"steps": 100, "pause": 0.02})
            victim = ran(await until(caller, task_id, says(3)), workers)
            victim.signal(signal.SIGSTOP)
            await until(caller, task_id, lambda frame: started(2, frame))
            victim.signal(signal.SIGCONT)
            # It learns so by what it is told first: its next commit, the log, or the renewal of its lease.
            await anyio.to_thread.run_sync(victim.said, "attempt 1 (ends here|lost it)|its lease was lost")
            (log,) = await audited(caller, [task_id])
            assert attempts(log) == [1, 2]
            # It is of use again.
            workers.remove(victim)
            workers[0].kill()
            assert (await result(caller, await caller.start("count", {"steps": 1})))["result"]["sum"] == 1
    check_witness(tmp_path, late=2)


async def test_the_readers_of_a_killed_replica_go_on_at_another(members: Fleet, tmp_path: Path) -> None:
    """Through a balancer, with the cursor they have: nothing lost, nothing repeated, whoever is killed and when."""
    replicas = [members.replica(), members.replica()]
    assert all(replica.url for replica in replicas)
    members.worker()
    chance = random.Random(1)
    async with balancer(lambda: [replica.url for replica in replicas]) as url, LongTaskClient(url) as client:
        with anyio.fail_after(PATIENCE):
            handle = await client.start("count", {"steps": 60, "pause": 0.02})
            seen: list[int | None] = []
            kill_at = {chance.randrange(5, 25), chance.randrange(30, 50)}
            async for event in handle.events(after=0):
                if event.number is not None:
                    seen.append(event.number)
                if isinstance(event, OutputEvent) and event.data.data["step"] in kill_at:
                    replicas.pop(0).kill()
                    replica = members.replica()
                    # Only then: who asks for its address waits until it listens.
                    await anyio.to_thread.run_sync(attrgetter("url"), replica)
                    replicas.append(replica)
        async with calling(replicas[0].url) as caller:
            (log,) = await audited(caller, [handle.id])
    assert seen == [frame.id for frame in log]
    check_witness(tmp_path)


async def test_a_start_that_was_acknowledged_needs_nobody_alive(members: Fleet, tmp_path: Path) -> None:
    """Recorded by a replica that is killed before any worker is there: the first worker that comes has it."""
    replica = members.replica()
    async with calling(replica.url) as caller:
        task_ids = [await caller.start("count", {"steps": 2}) for _ in range(3)]
        replica.kill()
    members.worker()
    async with calling(members.replica().url) as caller:
        with anyio.fail_after(PATIENCE):
            for log in await audited(caller, task_ids):
                assert attempts(log) == [1]
    check_witness(tmp_path)


async def test_a_task_that_was_admitted_and_never_handed_over_is_found(
    redis: RedisServer, members: Fleet, tmp_path: Path
) -> None:
    """Its worker dies as it is about to send the claimed task to Docket: when the lease is over another has it."""
    replica, doomed = members.replica(), list[Process]()

    def kill_at_hand_over(sent: bytes) -> None:
        # The first that Docket would hear of a task is the key of its run, which ends in the claim's token.
        if re.search(rb":runs:[0-9a-f]{12}\.", sent) and doomed[0].is_alive:
            doomed[0].kill()

    with anyio.fail_after(PATIENCE):
        async with balancer(lambda: [f"redis://127.0.0.1:{redis.port}"], kill_at_hand_over) as relay:
            doomed.append(members.worker(backend=relay.replace("http", "redis")))
            await anyio.to_thread.run_sync(doomed[0].ready)
            async with calling(replica.url) as caller:
                task_id = await caller.start("count", {"steps": 2})
                await anyio.to_thread.run_sync(doomed[0].ended)
                snapshot = await caller.snapshot(task_id)
                assert (snapshot["status"], snapshot["attempt"]) == ("queued", 0)
                assert redis.command("HEXISTS", "{longtasks}:holders", task_id) == ":1"
                members.worker()
                (log,) = await audited(caller, [task_id])
    assert attempts(log) == [1]
    check_witness(tmp_path)


async def test_a_worker_that_is_told_to_stop_lets_its_tasks_finish(redis: RedisServer, tmp_path: Path) -> None:
    """Within the grace: the running task ends in its first attempt, the waiting one is left to the next worker."""
    with fleet(redis.url, tmp_path, concurrency=1) as members:
        replica, worker = members.replica(), members.worker().ready()
        async with calling(replica.url) as caller:
            with anyio.fail_after(PATIENCE):
                running = await caller.start("count", {"steps": 20, "pause": 0.05})
                waiting = await caller.start("count", {"steps": 1})
                await until(caller, running, says(3))
                assert await anyio.to_thread.run_sync(worker.terminate) == 0
                assert "running tasks get 30 s" in worker.log
                assert (await caller.snapshot(running))["status"] == "completed"
                assert (await caller.snapshot(waiting))["status"] == "queued"
                members.worker()
                logs = await audited(caller, [running, waiting])
                assert [attempts(log) for log in logs] == [[1], [1]]
    check_witness(tmp_path)


async def test_after_the_grace_tasks_are_given_back_at_once(redis: RedisServer, tmp_path: Path) -> None:
    """Not when the lease has run out, here an hour; the next worker goes on from the checkpoint."""
    with fleet(redis.url, tmp_path, drain_grace=0.2, lease=3600) as members:
        replica, worker = members.replica(), members.worker().ready()
        async with calling(replica.url) as caller:
            with anyio.fail_after(PATIENCE):
                task_id = await caller.start("count", {"steps": 10, "hold_at": 8})
                await until(caller, task_id, saved(7))
                assert await anyio.to_thread.run_sync(worker.terminate) == 0
                members.worker()
                await audited(caller, [task_id])
                assert (await result(caller, task_id))["result"] == {"sum": 55, "first": 8, "attempt": 2}
    check_witness(tmp_path)
