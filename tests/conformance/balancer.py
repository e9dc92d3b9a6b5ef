"""A small HTTP balancer: one request to this server, the next to that one, whatever connection they came on.

It keeps nothing of a client (no stickiness), passes bodies on as they come, and waits
for a server that is down as a patient client would: a request that got no answer is
sent again. With `after` it tells when a request was answered, so that a test can kill
a server at a known point of a conversation.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import count

import anyio
import httpx2
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.conformance.processes import listening

__all__ = ["balancer"]

PATIENCE = 20.0
"""Seconds a request waits for a server that does not answer."""
HOP_BY_HOP = {"host", "connection", "keep-alive", "transfer-encoding", "content-length", "te", "upgrade"}


@asynccontextmanager
async def balancer(servers: Sequence[str], after: Callable[[int], Awaitable[None]] | None = None) -> AsyncIterator[str]:
    """Balance over base URLs; gives the base URL to use instead. `after` gets the number of each answered request."""
    numbers = count(1)
    async with httpx2.AsyncClient(timeout=httpx2.Timeout(None, connect=1.0)) as client:

        async def forward(request: Request) -> Response:
            number = next(numbers)
            body = await request.body()
            answer = await _send_patiently(client, servers, number, request, body)

            async def content() -> AsyncIterator[bytes]:
                try:
                    async for chunk in answer.aiter_raw():
                        yield chunk
                finally:
                    await answer.aclose()
                if after is not None:
                    await after(number)

            headers = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            return StreamingResponse(content(), answer.status_code, headers)

        app = Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST", "DELETE"])])
        socket, url = listening()
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        async with anyio.create_task_group() as running:
            running.start_soon(server.serve, [socket])
            yield url
            server.should_exit = server.force_exit = True


async def _send_patiently(
    client: httpx2.AsyncClient, servers: Sequence[str], number: int, request: Request, body: bytes
) -> httpx2.Response:
    headers = [(k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP]
    with anyio.fail_after(PATIENCE):
        while True:
            server = servers[number % len(servers)]
            url = f"{server}{request.url.path}"
            try:
                outgoing = client.build_request(request.method, url, headers=headers, content=body)
                return await client.send(outgoing, stream=True)
            except httpx2.TransportError:
                await anyio.sleep(0.05)
