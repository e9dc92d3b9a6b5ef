"""Who may reach a store and how: addresses, passwords and rights, TLS, a cluster."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from mcp_server.backends.redis import RedisBackend
from mcp_server.backends.redis.connection import Connection
from mcp_server.errors import ConfigurationError
from mcp_server.task import Status
from tests.contract.tasks import TYPE, create, finish
from tests.redis.cluster import redis_cluster
from tests.redis.server import RedisServer, free_port, redis_server
from tests.redis.tls import Certificate, certificate

from .steps import LIMITS, PATIENCE

RIGHTS = ["~{longtasks}*", "~longtasks:docket:*", "~{longtasks:docket:*", "&*", "+@all", "-@admin", "-@dangerous"]
USER = ["app", "on", ">p@ss/w%rd", *RIGHTS, "+info"]
"""What the deployment page asks for, with a password that a URL cannot hold as it is."""
PASS = "app:p%40ss%2Fw%25rd@"


async def everything_works(url: str) -> None:
    """Every kind of connection does its part: commands, wake-ups, Docket, the renewal of leases."""
    connection, woken = Connection(url), anyio.Event()
    async with RedisBackend(url, lease=1.0) as backend, RedisBackend(url, lease=1.0) as other:
        task = await create(backend, idempotency_key="k", owner="ann")
        assert (await create(other, idempotency_key="k", owner="ann")).id == task.id

        async def handle(task_id: str) -> None:
            lease = claimed = await connection.command("ZSCORE", "{longtasks}:claims", task_id)
            while lease == claimed:
                lease = await connection.command("ZSCORE", "{longtasks}:claims", task_id)
            await finish(backend, task_id)

        async def watch() -> None:
            await other.wait(task.id, 1)
            woken.set()

        with anyio.fail_after(PATIENCE):
            async with anyio.create_task_group() as serving:
                serving.start_soon(watch)
                serving.start_soon(backend.serve, handle, LIMITS)
                await woken.wait()
                while not (page := await completed(other)):
                    await other.wait(task.id, 2)
                serving.cancel_scope.cancel()
        assert page == [task.id]
        assert (await other.fleet()).due == 0
    await connection.aclose()


async def completed(backend: RedisBackend) -> list[str]:
    page = await backend.list(owner="ann", status=Status.COMPLETED, task_type=TYPE, limit=5, cursor=None)
    return [task.id for task in page.tasks]


@pytest.mark.parametrize("url", ["http://127.0.0.1", "redis://127.0.0.1:port"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Before anything is connected."""
    with pytest.raises(ConfigurationError):
        RedisBackend(url)


async def test_an_acl_user_with_the_store_s_keys_only_can_do_everything(server: RedisServer) -> None:
    """The rights the deployment page names are enough: its keys, its channels, no administration."""
    server.command("ACL", "SETUSER", *USER)
    await everything_works(server.url.replace("redis://", f"redis://{PASS}"))


async def test_a_password_without_a_user_is_the_default_user_s(server: RedisServer) -> None:
    """As `requirepass` sets it."""
    server.command("CONFIG", "SET", "requirepass", "p@ss/w%rd")
    await everything_works(server.url.replace("redis://", f"redis://{PASS.removeprefix('app')}"))


@pytest.mark.parametrize("user", ["app:wrong", "nobody:wrong"])
async def test_a_wrong_password_is_a_configuration_error(server: RedisServer, user: str) -> None:
    """Not an outage to be waited out; the message names the user and hides the password."""
    server.command("ACL", "SETUSER", *USER)
    with pytest.raises(ConfigurationError) as caught:
        async with RedisBackend(server.url.replace("redis://", f"redis://{user}@")):
            pass
    assert user.partition(":")[0] in str(caught.value)
    assert "wrong" not in str(caught.value)


@pytest.fixture
def tls(tmp_path: Path) -> Certificate:
    made, log = certificate(tmp_path), tmp_path / "probe" / "redis.log"
    try:
        with redis_server(tmp_path / "probe", *made.options(free_port())):
            return made
    except AssertionError:
        # Redis 6.2 without TLS does not know the setting, later ones and Valkey miss the support.
        if re.search("Bad directive|Failed finding TLS support", log.read_text()):
            pytest.skip("this redis-server was built without TLS")
        raise


@pytest.fixture
def secured(tls: Certificate, tmp_path: Path) -> Iterator[str]:
    """The address, user included, of a server with TLS, but not yet whom to trust."""
    port = free_port()
    with redis_server(tmp_path / "secured", *tls.options(port)) as server:
        server.command("ACL", "SETUSER", *USER)
        yield f"rediss://{PASS}127.0.0.1:{port}/0"


async def test_tls_with_an_authority_of_its_own(secured: str, tls: Certificate) -> None:
    """`rediss://` with a user, and the authority named in the URL."""
    await everything_works(f"{secured}?ssl_ca_certs={tls.file}")


async def test_a_certificate_that_nobody_vouches_for_is_refused(secured: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the one line that stops the start says that it was the certificate."""
    monkeypatch.setattr("mcp_server.backends.redis.backend.PATIENCE", 0.1)
    with pytest.raises(ConfigurationError, match="certificate"):
        async with RedisBackend(secured):
            pass


async def test_a_cluster_with_tls_and_a_user(tls: Certificate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on the connections to nodes that the URL does not name. Docket takes its authorities from the system."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.file))
    with redis_cluster(tmp_path / "cluster", f"user {' '.join(USER)}", tls=tls) as cluster:
        await everything_works(f"rediss+cluster://{PASS}127.0.0.1:{cluster.port}?ssl_ca_certs={tls.file}")
