"""Clients for every kind of Redis URL, and the one place where Redis's errors get their meaning.

Everything that means "not now" (no connection, no answer, full, loading, read-only,
not allowed) leaves this module as `Unavailable`; as `Outdated` if for this program it
will stay so. Any other refusal is a mistake of ours and stays what it is. Commands that
may be repeated are repeated for a moment, so that a connection that went stale in the
pool does not matter to callers.

Knows nothing of tasks.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import anyio
import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider, UsernamePasswordCredentialProvider
from redis.exceptions import (
    AuthenticationError,
    ClusterError,
    ConnectionError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    TimeoutError,
)
from redis.retry import Retry

from ...errors import ConfigurationError, Unavailable
from ...settings import without_password
from .layout import Script

__all__ = [
    "SCHEMES",
    "TROUBLE",
    "Connection",
    "Outdated",
    "SyncConnection",
    "as_unavailable",
    "is_denied",
    "split_credentials",
]

SCHEMES = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")

ANSWER = 5.0
"""Seconds Redis may take for an answer."""
CONNECT = 3.0
CONNECTIONS = 32
"""Per process; who needs one more waits for one to come free."""
PAUSES = (0.02, 0.2)
"""Seconds before a repeatable command is tried again."""

TROUBLE = (RedisError, RedisClusterException, OSError, RuntimeError)
"""Whatever a client may raise; `as_unavailable` says which of it is an outage."""
_STALE = (ConnectionError, RedisClusterException)
_LOST = (*_STALE, TimeoutError, OSError)
_REFUSED = (AuthenticationError, NoPermissionError, OutOfMemoryError, ReadOnlyError, ClusterError)
# Errors without a class of their own; and Redis 6.2 wraps those of a script's commands in one of its own.
_NOT_NOW = re.compile(r"\b(OOM|LOADING|BUSY|READONLY|MISCONF|NOREPLICAS|MASTERDOWN|NOPERM|NEWER)\b")


class Outdated(Unavailable):
    """A newer program upgraded the store: this one changes nothing in it any more."""

    def __init__(self) -> None:
        super().__init__("A newer version upgraded this store; this process has to be replaced")


def _is_stale(error: BaseException) -> bool:
    """Whether only the connection was lost. uvloop says so of one that closed under a write in a way of its own."""
    return isinstance(error, _STALE) or (isinstance(error, RuntimeError) and "handler is closed" in str(error))


def as_unavailable(error: BaseException) -> Unavailable | None:
    """`Unavailable` if the same command may succeed later, None if it is a mistake of ours."""
    word = _NOT_NOW.search(str(error)) if isinstance(error, RedisError) else None
    if isinstance(error, OutOfMemoryError) or (word and word[0] == "OOM"):
        return Unavailable("Redis is full and cannot store it")
    if word and word[0] == "NEWER":
        return Outdated()
    if word or isinstance(error, _REFUSED):
        return Unavailable(f"Redis refuses: {error}")
    if isinstance(error, _LOST) or _is_stale(error):
        return Unavailable(f"Redis does not answer: {error}")
    return None


def is_denied(error: Unavailable) -> bool:
    """Whether it is the password or the rights: waiting does not help."""
    return isinstance(error.__cause__, AuthenticationError | NoPermissionError)


@contextmanager
def _mapped_errors() -> Iterator[None]:
    try:
        yield
    except TROUBLE as error:
        meaning = as_unavailable(error)
        if meaning is None:
            raise
        raise meaning from error


def _is_cluster(url: str) -> bool:
    return urlsplit(url).scheme.endswith("+cluster")


def _plain(url: str) -> str:
    return url.replace("+cluster", "", 1)


def _at(url: str, host: str, port: int) -> str:
    """The same URL, with its user and options, for another host."""
    parts = urlsplit(url)
    user, at, _ = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user}{at}{f'[{host}]' if ':' in host else host}:{port}"))


def split_credentials(url: str) -> tuple[str, CredentialProvider | None]:
    """A URL without its user, and the user: what Docket is given.

    In a cluster Docket would take user and password out of the URL as they stand there, percent-encoded.
    """
    parts = urlsplit(url)
    if not parts.password:
        return url, None
    user = UsernamePasswordCredentialProvider(unquote(parts.username or ""), unquote(parts.password))
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])), user


class Connection:
    """The event loop's connections to one store. An async context manager."""

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in SCHEMES:
            raise ConfigurationError(
                f"The backend URL must begin with one of {', '.join(SCHEMES)}, got {without_password(url)!r}"
            )
        self.url = url
        # RESP2: pub/sub messages then come the same way from every server and client version.
        # Half a surrogate pair, which JSON can carry, is no error in an id: it names nothing.
        options: dict[str, Any] = {
            "protocol": 2,
            "socket_connect_timeout": CONNECT,
            "encoding_errors": "surrogatepass",
        }
        once = AsyncRetry(NoBackoff(), 0)
        try:
            if _is_cluster(url):
                self._client: Any = redis.asyncio.RedisCluster.from_url(
                    _plain(url), socket_timeout=ANSWER, max_connections=CONNECTIONS, **options
                )
            else:
                self._client = redis.asyncio.Redis.from_url(
                    url, socket_timeout=ANSWER, max_connections=CONNECTIONS, retry=once, **options
                )
        except ValueError as error:
            raise ConfigurationError(f"Not a usable Redis URL: {without_password(url)!r}: {error}") from None
        self._options = {**options, "retry": once}
        # The pools refuse what is over their limit; a cluster's knows no other way.
        self._free = anyio.Semaphore(CONNECTIONS)

    async def aclose(self) -> None:
        # What is wrong with a connection does not matter any more.
        with anyio.CancelScope(shield=True), anyio.move_on_after(CONNECT), suppress(*TROUBLE):
            await self._client.aclose()

    async def command(self, *command: Any, repeat: bool = True) -> Any:
        """Send one command. `repeat` says that sending it twice does no harm.

        Raises:
            Unavailable: there is no telling whether it was done.
        """
        return await self._sent(lambda: self._client.execute_command(*command), repeat=repeat)

    async def run(self, script: Script, root: str, *arguments: Any, repeat: bool = True) -> Any:
        """Run a script; atomic."""
        try:
            return await self.command("EVALSHA", script.sha, 1, root, *arguments, repeat=repeat)
        except NoScriptError:
            return await self.command("EVAL", script.source, 1, root, *arguments, repeat=repeat)

    async def pipeline(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send commands that only read, together; their answers. Not atomic."""

        async def send() -> list[Any]:
            async with self._client.pipeline(transaction=False) as pipeline:
                for command in commands:
                    pipeline.execute_command(*command)
                return list(await pipeline.execute())

        answers: list[Any] = await self._sent(send, repeat=True)
        return answers

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        with anyio.move_on_after(ANSWER) as wait:
            await self._free.acquire()
        if wait.cancelled_caught:
            raise Unavailable(f"Redis does not answer: {CONNECTIONS} commands wait for it")
        try:
            with _mapped_errors():
                yield
        finally:
            self._free.release()

    async def _sent(self, send: Callable[[], Awaitable[Any]], *, repeat: bool) -> Any:
        for pause in PAUSES if repeat else ():
            try:
                async with self._turn():
                    return await send()
            except Unavailable as error:
                if error.__cause__ is None or not _is_stale(error.__cause__):
                    raise
            await anyio.sleep(pause)
        async with self._turn():
            return await send()

    async def pubsub_client(self) -> redis.asyncio.Redis:
        """A client of its own for one subscriber; reads on it may take forever."""
        if not _is_cluster(self.url):
            return redis.asyncio.Redis.from_url(self.url, socket_timeout=None, **self._options)
        # Any node hears every message of a cluster.
        with _mapped_errors():
            await self._client.initialize()
        node = self._client.get_random_node()
        url = _at(_plain(self.url), node.host, node.port)
        return redis.asyncio.Redis.from_url(url, socket_timeout=None, **self._options)


class SyncConnection:
    """One connection for a thread that must go on while the event loop is blocked."""

    def __init__(self, url: str, answer: float) -> None:
        cluster = _is_cluster(url)
        kind: Any = redis.RedisCluster if cluster else redis.Redis
        options: dict[str, Any] = {} if cluster else {"retry": Retry(NoBackoff(), 0)}
        options |= {"protocol": 2, "socket_timeout": answer, "socket_connect_timeout": answer}
        self._open: Callable[[], Any] = lambda: kind.from_url(_plain(url), **options)
        self._client: Any = None

    def run(self, script: Script, root: str, *arguments: Any) -> Any:
        """Run a script. Raises Unavailable."""
        with _mapped_errors():
            # A cluster client connects when it is made, so it is made here and not before.
            self._client = self._client or self._open()
            try:
                return self._client.execute_command("EVALSHA", script.sha, 1, root, *arguments)
            except NoScriptError:
                return self._client.execute_command("EVAL", script.source, 1, root, *arguments)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
