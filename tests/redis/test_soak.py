"""Everything at once: starts and readers all the time, while workers, replicas and Redis are killed at random.

A short run by default; `LONGTASKS_SOAK_SECONDS=300` makes it the real one. It ends with
an audit of every log of every task whose start was acknowledged.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from client_sdk import LongTaskClient, OutputEvent
from client_sdk.errors import TryLater

from .audit import audit
from .processes import Fleet, Process, balancer, fleet
from .server import RedisServer, redis_server

SECONDS = float(os.environ.get("LONGTASKS_SOAK_SECONDS", "15"))
SEED = int(os.environ.get("LONGTASKS_SOAK_SEED", "0")) or random.randrange(1, 10**6)
AFTERMATH = 180.0
"""Seconds in which everything that was started must have ended when nothing is killed any more."""
READERS = 8


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", "appendonly yes") as server:
        yield server


class Chaos:
    """Kills one thing after the other and replaces it."""

    def __init__(self, redis: RedisServer, members: Fleet, chance: random.Random) -> None:
        self._redis, self._members, self._chance = redis, members, chance
        self.replicas = [members.replica(), members.replica()]
        self.workers = [members.worker() for _ in range(3)]
        self.done: dict[str, int] = {}

    async def run(self) -> None:
        acts = [self.kill_worker, self.stop_worker, self.freeze_worker, self.kill_replica, self.kill_redis]
        while True:
            await anyio.sleep(self._chance.uniform(0.5, 3.0))
            act = self._chance.choice(acts)
            await act()
            self.done[act.__name__] = self.done.get(act.__name__, 0) + 1

    def _pick(self, among: list[Process]) -> Process:
        return among.pop(self._chance.randrange(len(among)))

    async def kill_worker(self) -> None:
        self._pick(self.workers).kill()
        self.workers.append(self._members.worker())

    async def stop_worker(self) -> None:
        worker = self._pick(self.workers)
        self.workers.append(self._members.worker())
        await anyio.to_thread.run_sync(worker.terminate)

    async def freeze_worker(self) -> None:
        worker = self._chance.choice(self.workers)
        worker.signal(signal.SIGSTOP)
        await anyio.sleep(self._chance.uniform(0.1, 4.0))
        worker.signal(signal.SIGCONT)

    async def kill_replica(self) -> None:
        self._pick(self.replicas).kill()
        replica = self._members.replica()
        # Only then: who asks for its address waits until it listens.
        await anyio.to_thread.run_sync(lambda: replica.url)
        self.replicas.append(replica)

    async def kill_redis(self) -> None:
        await anyio.to_thread.run_sync(self._redis.kill)
        await anyio.sleep(self._chance.uniform(0.0, 4.0))
        await anyio.to_thread.run_sync(self._redis.start)


class Load:
    """Callers that start tasks and read them whole, and notes what was promised to them."""

    def __init__(self, url: str, chance: random.Random) -> None:
        self._url, self._chance = url, chance
        self.acknowledged: list[str] = []
        self.over = anyio.Event()

    async def caller(self, number: int) -> None:
        async with LongTaskClient(self._url) as client:
            turn = 0
            while not self.over.is_set():
                turn += 1
                steps = self._chance.randrange(1, 60)
                handle = await self._started(client, f"{number}-{turn}", steps)
                if handle is None:
                    continue
                seen: list[int] = []
                async for event in handle.events(after=0):
                    if isinstance(event, OutputEvent):
                        seen.append(event.data.data)
                # What the log repeats (a step an attempt died in) the reader sees; what it has once, once.
                assert sorted(set(seen)) == list(range(1, steps + 1)), f"{handle.id}: {seen}"

    async def _started(self, client: LongTaskClient, key: str, steps: int) -> Any:
        arguments = {"steps": steps, "pause": self._chance.choice([0.0, 0.01, 0.1])}
        while not self.over.is_set():
            try:
                handle = await client.start("count", arguments, idempotency_key=key)
            except TryLater:
                await anyio.sleep(0.1)
                continue
            self.acknowledged.append(handle.id)
            return handle
        return None


async def test_a_fleet_under_random_kills_keeps_every_promise(redis: RedisServer, tmp_path: Path) -> None:
    """No acknowledged start is missing, every log is sound, every reader saw every step."""
    chance = random.Random(SEED)
    with fleet(redis.url, tmp_path, drain_grace=1) as members:
        chaos = Chaos(redis, members, chance)
        assert all(replica.url for replica in chaos.replicas)
        async with balancer(lambda: [replica.url for replica in chaos.replicas]) as url:
            load = Load(url, chance)
            async with anyio.create_task_group() as callers:
                for number in range(READERS):
                    callers.start_soon(load.caller, number)
                with anyio.move_on_after(SECONDS):
                    await chaos.run()
                redis.kill()
                await anyio.to_thread.run_sync(redis.start)
                for worker in chaos.workers:
                    worker.signal(signal.SIGCONT)
                load.over.set()
                callers.cancel_scope.deadline = anyio.current_time() + AFTERMATH
            assert not callers.cancel_scope.cancelled_caught, f"seed {SEED}: not everything ended"
        print(f"seed {SEED}: {len(load.acknowledged)} tasks, {chaos.done}")
        assert load.acknowledged
        assert len(set(load.acknowledged)) == len(load.acknowledged)
        await audit(redis.url, load.acknowledged)
