"""Makes the processes that tasks run in: forks of a warm one on Linux, fresh interpreters elsewhere.

A fork starts in milliseconds, since the application's module is imported already; an
interpreter takes a second. Other systems have no fork that is safe beside their own
libraries. Neither has anything left of a task before it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol, Self

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream, Process

__all__ = ["Child", "Children"]

logger = logging.getLogger(__name__)

CAN_FORK = sys.platform == "linux"
EXIT_SECONDS = 1.0
"""Seconds until a fork server that does not exit is killed."""


class Child(Protocol):
    """The part of `anyio.abc.Process` that running a task needs. `pid` leads a process group of its own."""

    @property
    def pid(self) -> int: ...

    @property
    def returncode(self) -> int | None: ...

    @property
    def stdin(self) -> ByteSendStream | None: ...

    @property
    def stdout(self) -> ByteReceiveStream | None: ...

    async def wait(self) -> int: ...

    async def aclose(self) -> None: ...


class Children:
    """The processes of one server; an async context manager around all use of it."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        self._server: Process | None = None
        self._control: socket.socket | None = None
        self._forks = CAN_FORK

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self._close()

    async def start(self, function: Mapping[str, Any]) -> Child:
        """A process that waits for its order.

        Args:
            function: the arguments of `process_child.load`.
        """
        if self._forks and (forked := await self._fork(function)) is not None:
            return forked
        # A session of its own: what a terminal or a service manager signals reaches the server only.
        command = [sys.executable, "-m", "mcp_server.work.process_child"]
        return await anyio.open_process(command, stderr=None, start_new_session=True)

    async def _fork(self, function: Mapping[str, Any]) -> _Fork | None:
        talk, their_talk = socket.socketpair()
        status, their_status = socket.socketpair()
        answer: dict[str, Any] = {}
        said = _Stream(*await asyncio.open_unix_connection(sock=status))
        try:
            with their_talk, their_status:
                # One at a time: two messages must not run into one, and there is always room for it.
                async with self._lock:
                    control = self._control or await self._open()
                    descriptors = [their_talk.fileno(), their_status.fileno()]
                    socket.send_fds(control, [json.dumps(function).encode()], descriptors)
                    their_talk.close()
                    their_status.close()
                    answer = json.loads(await said.line() or "{}")
            if "pid" in answer:
                return _Fork(answer["pid"], _Stream(*await asyncio.open_unix_connection(sock=talk)), said)
        except OSError as error:
            logger.warning("the process that is forked for tasks cannot be reached: %s", error)
        finally:
            if "pid" not in answer:
                talk.close()
                await said.aclose()
        if "refused" in answer:
            logger.warning("tasks run in fresh interpreters, because %s", answer["refused"])
            self._forks = False
        else:
            # It has ended: the next task gets another one, and this one a fresh interpreter.
            with anyio.CancelScope(shield=True):
                await self._close()
        return None

    async def _open(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "mcp_server.work.fork_server", str(theirs.fileno())]
            self._server = await anyio.open_process(
                command, stdin=None, stdout=None, stderr=None, start_new_session=True, pass_fds=[theirs.fileno()]
            )
        self._control = ours
        return ours

    async def _close(self) -> None:
        control, server = self._control, self._server
        self._control = self._server = None
        if control is not None:
            control.close()
        if server is not None:
            with anyio.move_on_after(EXIT_SECONDS):
                await server.wait()
            if server.returncode is None:
                server.kill()
            await server.aclose()


class _Fork:
    """A forked process. Implements `Child`."""

    def __init__(self, pid: int, talk: _Stream, status: _Stream) -> None:
        self.pid, self.stdin, self.stdout = pid, talk, talk
        self.returncode: int | None = None
        self._status = status
        self._reading = anyio.Lock()

    async def wait(self) -> int:
        async with self._reading:
            if self.returncode is None:
                if not (line := await self._status.line()):
                    # The fork server is gone, and with it the knowledge of how its children end.
                    await anyio.sleep_forever()
                self.returncode = json.loads(line)["exit"]
        return self.returncode

    async def aclose(self) -> None:
        await self.stdin.aclose()
        # Its number may be given to another process from here on.
        await self._status.aclose()


class _Stream(ByteStream):
    """A connected socket. asyncio's streams, because those of anyio lose their place under uvloop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def line(self) -> bytes:
        """The next line; empty when there will be none."""
        try:
            return await self._reader.readline()
        except ConnectionError:
            return b""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        try:
            found = await self._reader.read(max_bytes)
        except ConnectionError:
            found = b""
        if not found:
            raise anyio.EndOfStream
        return found

    async def send(self, item: bytes) -> None:
        try:
            self._writer.write(item)
            await self._writer.drain()
        except (ConnectionError, RuntimeError) as error:
            raise anyio.BrokenResourceError from error

    async def send_eof(self) -> None:
        self._writer.write_eof()

    async def aclose(self) -> None:
        self._writer.close()
