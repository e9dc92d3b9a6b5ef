"""A TCP proxy that does to connections what networks do.

It understands just enough HTTP to know what a connection is for: it reads one request
head, closes every connection after one answer, and asks its `plan` what to do with
the answer's bytes. It never looks into an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

__all__ = ["PASS", "Fault", "Plan", "Proxy", "Request", "answered", "proxying"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a connection asks for; `count` is how many of its kind (stream or not) came before."""

    head: str
    count: int

    @property
    def is_stream(self) -> bool:
        return "/stream" in self.head.partition("\r\n")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What happens to a connection.

    Args:
        cut: close it after so many bytes of the answer.
        stall: hold it open, and pass on nothing more, after so many bytes.
        trickle: pass on single bytes, each in a packet of its own.
        status: answer with this status instead of asking the server.
        answer: answer with these bytes instead, and close.
        forget: take the request's Last-Event-ID away, so that everything is sent again.
    """

    cut: int | None = None
    stall: int | None = None
    trickle: bool = False
    status: int | None = None
    answer: bytes | None = None
    forget: bool = False


PASS = Fault()


def answered(content_type: str, body: str) -> Fault:
    """The fault that answers in the server's place."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close\r\n\r\n"
    return Fault(answer=(head + body).encode())


Plan = Callable[[Request], Fault]


@dataclass
class Proxy:
    """A running proxy. `plan` may be replaced at any time and holds for new connections."""

    upstream_port: int
    plan: Plan = lambda request: PASS
    prefix: str = ""
    """A path under which the server is mounted here, such as `/tools`."""
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    """Every request that came, in order."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    @property
    def streams(self) -> int:
        """How many streams were asked for."""
        return sum(request.is_stream for request in self.requests)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            probe = Request(head=head, count=0)
            same = sum(earlier.is_stream == probe.is_stream for earlier in self.requests)
            request = Request(head=head, count=same)
            self.requests.append(request)
            fault = self.plan(request)
            answer = fault.answer
            if fault.status is not None:
                answer = f"HTTP/1.1 {fault.status} Fault\r\nContent-Length: 5\r\n\r\nfault".encode()
            if answer is not None:
                writer.write(answer)
                await writer.drain()
            else:
                await self._pass_on(request, fault, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # either side went away, which is what this is for
        finally:
            writer.close()

    async def _pass_on(
        self, request: Request, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        lines = [line for line in request.head.split("\r\n") if not line.lower().startswith("connection:")]
        if fault.forget:
            lines = [line for line in lines if not line.lower().startswith("last-event-id:")]
        lines[0] = lines[0].replace(f" {self.prefix}/", " /", 1)
        lines.insert(1, "Connection: close")
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        upstream_writer.write("\r\n".join(lines).encode("latin-1"))
        upward = asyncio.create_task(_copy(reader, upstream_writer))
        try:
            left = fault.cut if fault.cut is not None else fault.stall
            while left is None or left > 0:
                data = await upstream_reader.read(65536 if left is None else min(left, 65536))
                if not data:
                    return
                left = None if left is None else left - len(data)
                for chunk in _bytes(data) if fault.trickle else [data]:
                    writer.write(chunk)
                    await writer.drain()
            if fault.stall is not None:
                await upward  # ends when the client has had enough
        finally:
            upward.cancel()
            upstream_writer.close()


def _bytes(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass


@asynccontextmanager
async def proxying(upstream_port: int, plan: Plan | None = None) -> AsyncIterator[Proxy]:
    proxy = Proxy(upstream_port)
    if plan is not None:
        proxy.plan = plan
    running: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.serve(reader, writer))
        running.add(task)
        task.add_done_callback(running.discard)

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    proxy.port = listener.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        listener.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
