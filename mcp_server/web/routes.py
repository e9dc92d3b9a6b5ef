"""`/progress/{id}/stream`, `/progress/{id}` and `/health`, as Starlette routes.

Reads requests and writes responses; what is in them comes from `views` and `feed`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ..engine import Engine
from ..errors import Unavailable
from ..task import Status
from ..views import fleet
from .failures import answering
from .tasks import Tasks

__all__ = ["health_route", "progress_routes"]

Capabilities = Callable[[], Awaitable[Mapping[str, int]]]


def progress_routes(tasks: Tasks, *, middleware: Sequence[Middleware] = ()) -> list[Route]:
    """The stream and the snapshot of each task."""

    async def stream(request: Request) -> Response:
        return await tasks.of(request).sse(request.path_params["operation_id"], request)

    async def ui_messages(request: Request) -> Response:
        return await tasks.of(request).ui_messages(request.path_params["operation_id"], request)

    async def show(request: Request) -> Response:
        shown = await tasks.of(request).get(request.path_params["operation_id"])
        return Response(shown.model_dump_json(), media_type="application/json")

    return [
        Route("/progress/{operation_id:path}/stream", answering(stream), middleware=middleware),
        Route("/progress/{operation_id:path}/ui-messages", answering(ui_messages), middleware=middleware),
        Route("/progress/{operation_id:path}", answering(show), middleware=middleware),
    ]


def health_route(engine: Engine, *, version: str, capabilities: Capabilities, ids: Callable[[Request], bool]) -> Route:
    """Whether the server can work, and the fleet.

    Args:
        capabilities: counts the tools, prompts and resources of the MCP side.
        ids: whether the sender of a request may read which tasks are run, of which types; probes have no credentials.
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

    return Route("/health", answering(health))
