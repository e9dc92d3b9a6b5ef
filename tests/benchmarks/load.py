"""A load generator that costs little itself: keep-alive HTTP/1.1 over bare asyncio streams, and server processes."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

import psutil

HERE = Path(__file__).parent


@contextmanager
def server(*arguments: str, environ: dict[str, str] | None = None) -> Iterator[tuple[int, psutil.Process]]:
    """A server process; its port and the process."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1]), **(environ or {})},
        cwd=HERE,
    )
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"(?:listening|running) on http://127\.0\.0\.1:(\d+)", line):
                # A pipe nobody reads fills up and stops the server.
                threading.Thread(target=process.stderr.read, daemon=True).start()
                yield int(found[1]), psutil.Process(process.pid)
                return
        raise RuntimeError("the server did not start")
    finally:
        process.terminate()
        process.wait()


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, request: bytes) -> bytes:
        """One request; the body of the answer."""
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head
        length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert length is not None, head
        return await self._reader.readexactly(int(length[1]))

    async def stream(self, request: bytes) -> AsyncIterator[bytes]:
        self._writer.write(request)
        await self._reader.readuntil(b"\r\n\r\n")
        while data := await self._reader.read(65536):
            yield data


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 22)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


def post(path: str, body: bytes, *headers: str) -> bytes:
    extra = "".join(f"{h}\r\n" for h in headers)
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:80\r\ncontent-type: application/json\r\n{extra}"
        f"content-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def get(path: str, *headers: str) -> bytes:
    extra = "".join(f"{h}\r\n" for h in headers)
    return f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:80\r\n{extra}\r\n".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Requests answered in a second, and the time within which 99 of 100 were (milliseconds)."""

    per_second: float
    p99: float

    def __str__(self) -> str:
        return f"{self.per_second:.0f}/s, p99 {self.p99:.1f} ms"


async def timed_rate(port: int, request: bytes, *, connections: int = 16, seconds: float = 4.0) -> Rate:
    """How fast so many keep-alive connections at once are answered."""
    took: list[float] = []
    until = time.perf_counter() + seconds

    async def one() -> None:
        async with connect(port) as connection:
            while (sent := time.perf_counter()) < until:
                await connection.send(request)
                took.append(time.perf_counter() - sent)

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return Rate(per_second=len(took) / (time.perf_counter() - began), p99=1000 * quantiles(took, n=100)[98])


async def rate(port: int, request: bytes, *, connections: int, seconds: float) -> float:
    """Requests answered per second, by so many connections at once."""
    return (await timed_rate(port, request, connections=connections, seconds=seconds)).per_second
