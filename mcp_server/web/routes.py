"""`/progress/{id}/stream` and `/progress/{id}`, as Starlette routes.

Reads requests and writes responses; what is in them comes from `views` and `feed`.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from .failures import answering
from .tasks import Tasks

__all__ = ["progress_routes"]


def progress_routes(tasks: Tasks, *, middleware: Sequence[Middleware] = ()) -> list[Route]:
    """The stream and the snapshot of each task."""

    async def stream(request: Request) -> Response:
        return await tasks.of(request).sse(request.path_params["operation_id"], request)

    async def ui_messages(request: Request) -> Response:
        return await tasks.of(request).ui_messages(request.path_params["operation_id"], request)

    async def show(request: Request) -> Response:
        sender, operation_id = tasks.of(request), request.path_params["operation_id"]
        wants_detail = request.query_params.get("detail") in ("1", "true")
        shown = await (sender.detail(operation_id) if wants_detail else sender.get(operation_id))
        return Response(shown.model_dump_json(), media_type="application/json")

    return [
        Route("/progress/{operation_id:path}/stream", answering(stream), middleware=middleware),
        Route("/progress/{operation_id:path}/ui-messages", answering(ui_messages), middleware=middleware),
        Route("/progress/{operation_id:path}", answering(show), middleware=middleware),
    ]
