"""What Redis does to the backend: losing it, filling it, restarting it, guarding it, and a cluster.

The contract suite says what the backend does on a Redis that is well.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import redis.asyncio

from mcp_server.backend import Limits
from mcp_server.backends.redis import RedisBackend
from mcp_server.errors import ConfigurationError, Conflict, Unavailable
from mcp_server.task import Kind, Status, Task

from ..contract.tasks import TYPE, create, finish, move, moved, queued
from ..redis.server import RedisServer, free_port, redis_server

PATIENCE = 20.0
"""Seconds after which something counts as never happening."""
LIMITS = Limits(total=4, types={TYPE: None})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", "appendonly yes") as server:
        yield server


async def test_without_a_redis_the_server_does_not_start_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some patience, one line that names the address and hides the password."""
    monkeypatch.setattr("mcp_server.backends.redis.backend.PATIENCE", 0.3)
    backend = RedisBackend("redis://ann:secret@127.0.0.1:1/0")
    with pytest.raises(ConfigurationError) as caught:
        async with backend:
            pass
    assert "127.0.0.1:1" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_server_that_starts_before_its_redis_waits_for_it(tmp_path: Path) -> None:
    """Machines that boot together need no order."""
    with redis_server(tmp_path / "redis") as server:
        server.stop()
        async with anyio.create_task_group() as booting:
            booting.start_soon(anyio.to_thread.run_sync, server.start)
            async with RedisBackend(server.url) as backend:
                assert (await backend.counts())[Status.QUEUED] == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1:port"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigurationError):
        RedisBackend(url)


async def test_an_acl_user_with_the_store_s_keys_only_can_do_everything(server: RedisServer) -> None:
    """The rights the deployment page names are enough: its keys, its channels, no administration."""
    rules = ["~{longtasks}*", "~longtasks:docket:*", "&*", "+@all", "-@admin", "-@dangerous", "+info", "+keys"]
    server.command("ACL", "SETUSER", "app", "on", ">pass", *rules)
    url = server.url.replace("redis://", "redis://app:pass@")
    async with RedisBackend(url) as backend:
        task = await create(backend)
        await serve_one(backend)
        seen = await backend.load(task.id)
        assert seen is not None
        assert seen.status is Status.COMPLETED


async def test_a_wrong_password_is_a_configuration_error(server: RedisServer) -> None:
    """Not an outage to be waited out."""
    server.command("CONFIG", "SET", "requirepass", "right")
    with pytest.raises(ConfigurationError):
        async with RedisBackend(server.url.replace("redis://", "redis://:wrong@")):
            pass


async def test_tls_with_an_authority_of_its_own(tmp_path: Path) -> None:
    """`rediss://` checks the certificate against the authority the URL names, for every kind of connection."""
    if (openssl := shutil.which("openssl")) is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    await anyio.run_process([openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject, *files])
    with redis_server(tmp_path / "redis") as server:
        for name, value in [("cert-file", certificate), ("key-file", key), ("ca-cert-file", certificate)]:
            server.command("CONFIG", "SET", f"tls-{name}", str(value))
        server.command("CONFIG", "SET", "tls-auth-clients", "no")
        plain, port = server.port, free_port()
        if not server.command("CONFIG", "SET", "port", "0", "tls-port", str(port)).startswith("+OK"):
            pytest.skip("this redis-server was built without TLS")
        assert plain != port
        async with RedisBackend(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}") as backend:
            task = await create(backend)
            await serve_one(backend)
            seen = await backend.load(task.id)
            assert seen is not None
            assert seen.status is Status.COMPLETED


async def test_a_store_of_a_newer_program_is_left_alone(server: RedisServer) -> None:
    """An old program neither opens it nor, if it is running, writes or claims in it; reading goes on."""
    async with RedisBackend(server.url) as old:
        task = await create(old)
        server.command("HSET", "{longtasks}", "format", "2")
        with pytest.raises(ConfigurationError):
            async with RedisBackend(server.url):
                pass
        with pytest.raises(Unavailable):
            await create(old)
        with pytest.raises(Unavailable):
            await move(old, task, Kind.STARTED)
        assert await old.load(task.id) == task


async def test_a_worker_changes_nothing_in_a_store_that_a_newer_program_took_over(server: RedisServer) -> None:
    """What it was running ends and records nothing; it gives nothing back, claims nothing and deletes nothing."""
    held, ended = anyio.Event(), anyio.Event()

    async def hold(task_id: str) -> None:
        held.set()
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with RedisBackend(server.url, lease=1.0) as old:
        await move(old, await create(old), Kind.CANCELLED, expires_at=time.time() - 1)
        running = await create(old)
        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as serving:
                serving.start_soon(old.serve, hold, Limits(total=2, types={TYPE: None}))
                await held.wait()
                await create(old, not_before=time.time() + 0.2)
                server.command("HSET", "{longtasks}", "format", "2")
                before = await contents(server)
                await ended.wait()
                with pytest.raises(Unavailable):
                    await move(old, running, Kind.STARTED)
                with pytest.raises(Unavailable):
                    await old.purge(time.time())
                serving.cancel_scope.cancel()
        assert await contents(server) == before


async def test_two_prefixes_are_two_stores(server: RedisServer) -> None:
    """They share a Redis and nothing else."""
    async with RedisBackend(server.url, prefix="a") as a, RedisBackend(server.url, prefix="b") as b:
        task = await create(a)
        assert await b.load(task.id) is None
        assert (await b.counts())[Status.QUEUED] == 0


async def test_a_commit_that_is_sent_twice_counts_once(server: RedisServer) -> None:
    """An answer that was lost on its way is asked for again; somebody else's commit is still a conflict."""
    async with RedisBackend(server.url) as backend, RedisBackend(server.url) as other:
        task, events = queued()
        assert await backend.create(task, events) == task
        assert await backend.create(task, events) == task
        after, events = moved(task, Kind.STARTED)
        await backend.commit(task, after, events)
        await backend.commit(task, after, events)
        with pytest.raises(Conflict):
            await other.commit(task, after, events)
        assert [event.number for event in await backend.read(task.id, 0, 10)] == [1, 2]


async def test_keys_get_a_time_to_live_at_the_end_of_a_task_and_not_before(server: RedisServer) -> None:
    """A live task never expires, however long it lives."""
    async with RedisBackend(server.url) as backend:
        task = await move(backend, await create(backend, idempotency_key="k"), Kind.STARTED)
        keys = [f"{{longtasks}}:{name}" for name in (f"task:{task.id}", f"log:{task.id}", "idempotency::=k")]
        assert [server.command("TTL", key) for key in keys] == [":-1"] * 3
        await move(backend, task, Kind.COMPLETED, expires_at=time.time() + 1000)
        for key in keys:
            assert 1000 < int(server.command("TTL", key).removeprefix(":")) <= 1001 + 3600


async def test_what_expired_by_itself_leaves_the_lists_at_the_next_purge(server: RedisServer) -> None:
    """Nobody purged for so long that Redis dropped the record: lists and counts are put right nevertheless."""
    async with RedisBackend(server.url) as backend:
        task = await move(backend, await create(backend), Kind.CANCELLED, expires_at=time.time() - 1)
        server.command("DEL", f"{{longtasks}}:task:{task.id}", f"{{longtasks}}:log:{task.id}")
        page = await backend.list(owner="", status=None, task_type=None, limit=5, cursor=None)
        assert not page.tasks
        assert await backend.purge(time.time()) == 1
        assert set((await backend.counts()).values()) == {0}


async def test_a_full_redis_refuses_starts_and_keeps_what_it_acknowledged(server: RedisServer) -> None:
    """`UNAVAILABLE` while it is full; when there is room again everything goes on where it was."""
    async with RedisBackend(server.url) as backend:
        task = await move(backend, await create(backend), Kind.STARTED)
        server.command("CONFIG", "SET", "maxmemory", "1")  # an empty server may use less than a megabyte
        with pytest.raises(Unavailable, match="full"):
            await create(backend)
        after, events = moved(task, Kind.OUTPUT)
        with pytest.raises(Unavailable, match="full"):
            await backend.commit(task, after, events)
        assert await backend.load(task.id) == task
        assert (await backend.counts())[Status.RUNNING] == 1
        assert (await backend.counts())[Status.QUEUED] == 0
        server.command("CONFIG", "SET", "maxmemory", "0")
        await backend.commit(task, after, events)
        assert [event.number for event in await backend.read(task.id, 0, 10)] == [1, 2, 3]


async def test_while_redis_is_away_requests_are_refused_and_waits_go_on(server: RedisServer) -> None:
    """`Unavailable` for whoever asks; a wait neither raises nor ends the watching, and wakes after the restart."""
    async with RedisBackend(server.url) as backend, RedisBackend(server.url) as other:
        task = await create(backend)
        woken = anyio.Event()

        async def watch() -> None:
            await backend.wait(task.id, 1)
            woken.set()

        async with anyio.create_task_group() as watching:
            watching.start_soon(watch)
            await anyio.wait_all_tasks_blocked()
            await anyio.to_thread.run_sync(server.kill)
            with pytest.raises(Unavailable):
                await create(backend)
            with pytest.raises(Unavailable):
                await backend.load(task.id)
            assert not woken.is_set()
            await anyio.to_thread.run_sync(server.start)
            with anyio.fail_after(PATIENCE):
                await move(other, task, Kind.STARTED)
                await woken.wait()
        assert [event.number for event in await backend.read(task.id, 0, 10)] == [1, 2]


async def test_a_redis_that_hangs_is_an_outage_too(server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connections are open and nothing answers: the caller is told within the time an answer may take."""
    monkeypatch.setattr("mcp_server.backends.redis.connection.ANSWER", 0.3)
    async with RedisBackend(server.url) as backend:
        task = await create(backend)
        server.freeze()
        with anyio.fail_after(PATIENCE), pytest.raises(Unavailable):
            await backend.load(task.id)
        server.thaw()
        assert await backend.load(task.id) == task


async def test_work_outlives_a_restart_of_redis_and_nobody_else_is_given_it(server: RedisServer) -> None:
    """Redis is away for longer than a lease: the call goes on, keeps its claim and records its end afterwards."""
    lease = 1.0
    given: list[str] = []
    held, over = anyio.Event(), anyio.Event()
    async with RedisBackend(server.url, lease=lease) as backend, RedisBackend(server.url, lease=lease) as rival:
        task = await create(backend)

        async def work(task_id: str) -> None:
            given.append(task_id)
            if task_id == task.id:
                held.set()
                await over.wait()
            await finish(backend, task_id)

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as serving:
                serving.start_soon(backend.serve, work, LIMITS)
                await held.wait()
                serving.start_soon(rival.serve, work, LIMITS)
                server.kill()
                await anyio.sleep(2 * lease)  # the outage is the claim, not a wait for something
                await anyio.to_thread.run_sync(server.start)
                # New work is done, so somebody is back to claim; the old claim stands.
                await until_over(rival, (await created_again(rival)).id)
                await anyio.sleep(2 * lease)  # and stands longer than it would if nobody kept it
                over.set()
                await until_over(backend, task.id)
                serving.cancel_scope.cancel()
    assert given.count(task.id) == 1


async def test_a_cluster_holds_a_whole_store(tmp_path: Path) -> None:
    """Every key carries one hash tag: a cluster, which refuses scripts over several slots, runs all of it."""
    with redis_server(tmp_path / "redis", "cluster-enabled yes") as server:
        server.command("CLUSTER", "ADDSLOTS", *map(str, range(16384)))
        server.wait_for("cluster_state:ok", "CLUSTER", "INFO")
        url = server.url.replace("redis://", "redis+cluster://").removesuffix("/0")
        async with RedisBackend(url) as backend, RedisBackend(url) as other:
            task = await create(backend, idempotency_key="k", owner="ann")
            assert (await create(other, idempotency_key="k", owner="ann")).id == task.id
            with anyio.fail_after(PATIENCE):
                async with anyio.create_task_group() as watching:
                    watching.start_soon(other.wait, task.id, 1)
                    await serve_one(backend)
            page = await other.list(owner="ann", status=Status.COMPLETED, task_type=TYPE, limit=5, cursor=None)
            assert [seen.id for seen in page.tasks] == [task.id]


async def test_the_fleet_shows_its_workers_and_its_queue(server: RedisServer) -> None:
    """Who is alive and what each runs, what waits and for how long; a worker that stops leaves the list."""
    held, over = anyio.Event(), anyio.Event()
    async with RedisBackend(server.url) as backend:
        task = await create(backend)

        async def hold(task_id: str) -> None:
            held.set()
            await over.wait()

        async with anyio.create_task_group() as serving:
            serving.start_soon(backend.serve, hold, Limits(total=1, types={TYPE: None}))
            with anyio.fail_after(PATIENCE):
                await held.wait()
                waiting = await create(backend)
                await create(backend, not_before=time.time() + 3600)
                fleet = await backend.fleet()
                while not fleet.workers or not fleet.workers[0].running:
                    fleet = await backend.fleet()
            assert [list(worker.running) for worker in fleet.workers] == [[task.id]]
            assert (fleet.queued, fleet.delayed, fleet.claimed, list(fleet.stalled)) == (1, 1, 1, [])
            assert fleet.oldest_waiting is not None
            assert 0 <= fleet.oldest_waiting <= time.time() - waiting.created_at + 1
            serving.cancel_scope.cancel()
        assert not (await backend.fleet()).workers


async def contents(server: RedisServer) -> dict[bytes, bytes | None]:
    """Every key of the store as it is stored, but for the list of who is alive."""
    async with redis.asyncio.from_url(server.url) as client:
        keys = [key async for key in client.scan_iter("{longtasks}*") if key != b"{longtasks}:workers"]
        return {key: await client.dump(key) for key in keys}


async def serve_one(backend: RedisBackend) -> None:
    """Serve until one task was finished."""
    over = anyio.Event()

    async def handle(task_id: str) -> None:
        await finish(backend, task_id)
        over.set()

    with anyio.fail_after(PATIENCE):
        async with anyio.create_task_group() as serving:
            serving.start_soon(backend.serve, handle, LIMITS)
            await over.wait()
            serving.cancel_scope.cancel()


async def created_again(backend: RedisBackend) -> Task:
    while True:
        try:
            return await create(backend)
        except Unavailable:
            await anyio.sleep(0.05)


async def until_over(backend: RedisBackend, task_id: str) -> None:
    while (seen := await backend.load(task_id)) is None or not seen.is_over:
        await backend.wait(task_id, seen.last_event_id if seen else 0)
