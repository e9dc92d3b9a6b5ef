"""Everything at once: starts and readers all the time, while workers, replicas and Redis are killed, frozen and filled.

Half a minute by default; `LONGTASKS_SOAK_SECONDS=600` makes it a long one, `LONGTASKS_SOAK_SEED=7`
another one: the seed says what is done to whom and when. It ends with an audit of every log of
every task whose start was acknowledged. `pytest -s` shows what was done.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from operator import attrgetter
from pathlib import Path

import anyio
import anyio.to_thread

from client_sdk import LongTaskClient, TaskHandle
from client_sdk.errors import TryLater
from tests.crash.audit import attempts, audited, check_witness
from tests.crash.clients import result
from tests.server.servers import calling

from .processes import LEASE, Fleet, Process, balancer, fleet
from .server import RedisServer

SECONDS = float(os.environ.get("LONGTASKS_SOAK_SECONDS", "30"))
SEED = int(os.environ.get("LONGTASKS_SOAK_SEED", "1"))
AFTERMATH = 180.0
"""Seconds in which everything that was started must have ended when nothing is done to anybody any more."""
CALLERS = 8

Act = Callable[[random.Random], Awaitable[None]]


class Chaos:
    """Two hands at work, one on the processes and one on Redis. Whatever they break they have mended when they rest."""

    def __init__(self, redis: RedisServer, members: Fleet) -> None:
        self._redis, self._members = redis, members
        self.replicas = [members.replica(), members.replica(works=True)]
        self.workers = [members.worker(), members.worker()]
        self.done = Counter[str]()

    async def run(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        on_processes = [self.kill_worker, self.stop_worker, self.freeze_worker]
        on_processes += [self.kill_replica, self.stop_replica]
        on_redis = [self.kill_redis, self.freeze_redis, self.fill_redis]
        async with anyio.create_task_group() as hands:
            hands.start_soon(self._hand, until, 2.0, on_processes, random.Random(f"processes {SEED}"))
            hands.start_soon(self._hand, until, 8.0, on_redis, random.Random(f"redis {SEED}"))

    async def _hand(self, until: float, rest: float, acts: Sequence[Act], chance: random.Random) -> None:
        while time.monotonic() < until:
            await anyio.sleep(chance.uniform(0.1, rest))
            act = chance.choice(acts)
            await act(chance)
            self.done[act.__name__] += 1

    def _pick(self, among: list[Process], chance: random.Random) -> Process:
        victim = among.pop(chance.randrange(len(among)))
        assert victim.is_alive, f"it has ended by itself:\n{victim.log}"
        return victim

    async def kill_worker(self, chance: random.Random) -> None:
        victim = self._pick(self.workers, chance)
        self.workers.append(self._members.worker())
        await anyio.to_thread.run_sync(victim.kill)

    async def stop_worker(self, chance: random.Random) -> None:
        victim = self._pick(self.workers, chance)
        self.workers.append(self._members.worker())
        await anyio.to_thread.run_sync(victim.terminate)

    async def freeze_worker(self, chance: random.Random) -> None:
        victim = chance.choice(self.workers)
        victim.signal(signal.SIGSTOP)
        await anyio.sleep(chance.uniform(0.1, 2 * LEASE))
        victim.signal(signal.SIGCONT)

    async def kill_replica(self, chance: random.Random) -> None:
        await self._replace_replica(Process.kill, chance)

    async def stop_replica(self, chance: random.Random) -> None:
        await self._replace_replica(Process.terminate, chance)

    async def _replace_replica(self, end: Callable[[Process], object], chance: random.Random) -> None:
        await anyio.to_thread.run_sync(end, self._pick(self.replicas, chance))
        replica = self._members.replica(works=chance.random() < 0.5)
        # Only then: who asks for its address waits until it listens.
        await anyio.to_thread.run_sync(attrgetter("url"), replica)
        self.replicas.append(replica)

    async def kill_redis(self, chance: random.Random) -> None:
        await anyio.to_thread.run_sync(self._redis.kill)
        await anyio.sleep(chance.uniform(0.0, 2 * LEASE))
        await anyio.to_thread.run_sync(self._redis.start)

    async def freeze_redis(self, chance: random.Random) -> None:
        self._redis.freeze()
        await anyio.sleep(chance.uniform(0.1, 2 * LEASE))
        self._redis.thaw()

    async def fill_redis(self, chance: random.Random) -> None:
        self._redis.command("CONFIG", "SET", "maxmemory", "1")
        await anyio.sleep(chance.uniform(0.1, 2 * LEASE))
        self._redis.command("CONFIG", "SET", "maxmemory", "0")


class Load:
    """Callers that start tasks and read them whole, and note what was promised to them and what they saw."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.sums: dict[str, int] = {}
        """What the result of each acknowledged task must be."""
        self.seen: dict[str, list[int]] = {}
        self.over = False

    async def caller(self, number: int) -> None:
        chance = random.Random(f"caller {number} {SEED}")
        turn = 0
        async with LongTaskClient(self._url) as client:
            while not self.over:
                turn += 1
                task_type, steps = chance.choice(["count", "count_in_thread"]), chance.randrange(1, 60)
                arguments = {"steps": steps, "pause": chance.choice([0.0, 0.01, 0.1])}
                handle = await self._started(client, task_type, arguments, key=f"{number}-{turn}")
                assert handle.id not in self.sums, "two starts were answered with one task"
                self.sums[handle.id] = steps * (steps + 1) // 2
                events = [event async for event in handle.events(after=0)]
                self.seen[handle.id] = [event.number for event in events if event.number is not None]

    async def _started(
        self, client: LongTaskClient, task_type: str, arguments: dict[str, float], key: str
    ) -> TaskHandle:
        """Asked until it is acknowledged: who was not answered cannot know whether there is a task."""
        while True:
            try:
                return await client.start(task_type, arguments, idempotency_key=key)
            except TryLater:
                await anyio.sleep(0.1)


async def test_a_fleet_under_random_kills_keeps_every_promise(redis: RedisServer, tmp_path: Path) -> None:
    """No acknowledged start is missing or doubled, every log is sound, and every reader saw the whole of it once."""
    print(f"\nseed {SEED}, {SECONDS:g} s")
    with fleet(redis.url, tmp_path, drain_grace=1) as members:
        chaos = Chaos(redis, members)
        assert all(replica.url for replica in chaos.replicas)
        async with balancer(lambda: [replica.url for replica in chaos.replicas]) as url:
            load = Load(url)
            async with anyio.create_task_group() as callers:
                for number in range(CALLERS):
                    callers.start_soon(load.caller, number)
                await chaos.run(SECONDS)
                assert all(process.is_alive for process in [*chaos.replicas, *chaos.workers])
                load.over = True
                callers.cancel_scope.deadline = anyio.current_time() + AFTERMATH
            assert not callers.cancel_scope.cancelled_caught, "not everything has ended"
        await check_end(load, members.replica())
    check_witness(tmp_path, late=2)
    print(dict(chaos.done))


async def check_end(load: Load, replica: Process) -> None:
    assert load.sums
    async with calling(replica.url) as caller:
        logs = await audited(caller, list(load.sums))
        for (task_id, total), log in zip(load.sums.items(), logs, strict=True):
            assert load.seen[task_id] == [frame.id for frame in log]
            assert (await result(caller, task_id))["result"]["sum"] == total
    print(f"{len(logs)} tasks, {sum(map(len, logs))} events, {sum(len(attempts(log)) for log in logs)} attempts")
