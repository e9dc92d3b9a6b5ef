"""The SDK's Streamable HTTP transport over connections that may fail.

In the SDK an error of a connection ends the whole session, with every call that is
under way. Here it is an answer: requests that may be repeated are repeated, and what
is left is told to the one call it concerns, as an HTTP 503 made here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from mcp.client.streamable_http import streamable_http_client

from .._backoff import Backoff, Patience

__all__ = ["patient_http"]

_TIMEOUT, _STREAM_TIMEOUT = 30.0, 300.0
"""Seconds, as in the SDK."""


@asynccontextmanager
async def patient_http(
    url: str, *, headers: Mapping[str, str] | None = None, patience: float | None = 60.0
) -> AsyncIterator[Any]:
    """A transport for `mcp.Client` that outlives restarts of the server: `Client(patient_http(url))`.

    A request is sent again when the server could not be reached, or when its answer was
    lost and sending it twice does no harm; a `tools/call` that may have arrived is not.

    Args:
        url: of the MCP endpoint.
        headers: sent with every request, such as `Authorization`.
        patience: seconds the server may stay away before the call fails (None: forever).
    """
    transport = _PatientTransport(Patience(total=patience, longest=5.0))
    timeout = httpx2.Timeout(_TIMEOUT, read=_STREAM_TIMEOUT)
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, timeout=timeout) as http,
        streamable_http_client(url, http_client=http) as streams,
    ):
        yield streams


class _PatientTransport(httpx2.AsyncBaseTransport):
    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._inner = httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(max_connections=None)  # each followed task holds one
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        # Handshake-era requests do not say in a header what they are; neither is repeated.
        repeatable = request.headers.get("Mcp-Method", "tools/call") != "tools/call"
        backoff = Backoff(self._patience)
        while True:
            try:
                return await self._answer(request)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                trouble: httpx2.TransportError = error
            except httpx2.TransportError as error:
                trouble = error
                if not repeatable:
                    break
            if not await backoff.pause():
                break
        return httpx2.Response(503, text=f"No answer: {trouble or type(trouble).__name__}", request=request)

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
            # Read here, where a break still can be mended. Streams have their own way of breaking.
            response.request = request
            await response.aread()
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()
