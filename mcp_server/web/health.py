"""`/health` for people and monitors, `/livez` and `/readyz` for what starts, stops and balances processes.

None of them wants a credential: probes have none. What they say names no task. `/metrics`, which
names task types, is there by setting, and where authentication is asked for, for administrators.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import anyio
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..access.principal import ADMIN
from ..engine import Engine
from ..errors import InsufficientScope, Unavailable
from ..task import Status
from ..views import fleet
from .failures import answering
from .metrics import check_installed, exposition

__all__ = ["health_routes"]

Capabilities = Callable[[], Awaitable[Mapping[str, int]]]
READY_TIMEOUT = 2.0
"""Seconds within which the backend must answer for the process to be ready."""


def health_routes(
    engine: Engine,
    *,
    version: str,
    capabilities: Capabilities,
    ids: Callable[[Request], bool],
    is_draining: Callable[[], bool],
    may_measure: Callable[[Request], bool],
    streams: Callable[[], int],
) -> list[Route]:
    """The health routes, and `/metrics` where the setting has it on.

    Args:
        capabilities: counts the tools, prompts and resources of the MCP side.
        ids: whether the sender of a request may read which tasks are run, of which types.
        is_draining: whether the process is about to stop.
        may_measure: whether the sender of a request may read the metrics.
        streams: counts the open streams.

    Raises:
        ConfigurationError: metrics are on, and the library for them is not installed.
    """

    async def health(request: Request) -> Response:
        body: dict[str, Any] = {"status": "healthy", "version": version, "backend": engine.backend.name}
        try:
            counts, seen = await engine.census()
        except Unavailable as error:
            return JSONResponse({**body, "status": "unhealthy", "reason": error.message}, status_code=503)
        body["capabilities"] = dict(await capabilities())
        body["task_types"] = len(engine.registry)
        body["tasks"] = {status.value: counts.get(status, 0) for status in Status}
        body["fleet"] = fleet(seen, ids=ids(request)).model_dump(mode="json")
        return JSONResponse(body)

    async def livez(_: Request) -> Response:
        # The backend is not asked: an outage of it must not get processes killed whose tasks outlive it.
        return JSONResponse({"status": "alive"})

    async def readyz(_: Request) -> Response:
        reasons = {}
        if is_draining():
            reasons["draining"] = "this process is about to stop"
        try:
            with anyio.fail_after(READY_TIMEOUT):
                await engine.census()
        except Unavailable as error:
            reasons["backend"] = error.message
        except TimeoutError:
            reasons["backend"] = f"no answer within {READY_TIMEOUT:g} s"
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, status_code=503)
        return JSONResponse({"status": "ready", "reasons": {}})

    async def metrics(request: Request) -> Response:
        if not may_measure(request):
            raise InsufficientScope(ADMIN)
        counts, seen = await engine.census()
        body, media_type = exposition(
            engine.meter, counts, seen, streams=streams(), version=version, backend=engine.backend.name
        )
        return Response(body, media_type=media_type)

    measured = [Route("/metrics", answering(metrics))] if engine.settings.metrics == "on" else []
    if measured:
        check_installed()
    return [
        *measured,
        Route("/health", answering(health)),
        Route("/livez", answering(livez)),
        Route("/readyz", answering(readyz)),
    ]
