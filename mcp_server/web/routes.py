"""`/progress/{id}/stream`, `/progress/{id}` and `/health`, as Starlette routes.

Reads requests and writes responses; what is in them comes from `views` and `feed`.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from client_sdk import wire

from ..access.principal import Principal
from ..engine import Engine
from ..errors import CallerError, Internal, InvalidArgument, LimitExceeded, NotFound, TryLater, Unavailable
from ..task import Status
from ..views import fleet, present, snapshot, sse
from .feed import Feeds

__all__ = ["error_response", "health_route", "progress_routes"]

logger = logging.getLogger(__name__)

RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a client whose connection broke should come back."""

STATUS_CODES: tuple[tuple[type[CallerError], int], ...] = (
    (NotFound, 404),
    (TryLater, 503),
    (Internal, 500),
    (CallerError, 400),
)

Sender = Callable[[Request], Principal]
Capabilities = Callable[[], Awaitable[Mapping[str, int]]]


def progress_routes(engine: Engine, feeds: Feeds, *, principal: Sender) -> list[Route]:
    """The stream and the snapshot of one engine's tasks; `principal` gives the sender of a request."""
    settings = engine.settings

    async def stream(request: Request) -> Response:
        log = await engine.open(request.path_params["operation_id"], principal=principal(request))
        task = log.task
        cursor, head = _cursor(request), RETRY
        if request.query_params.get("from") == "now":
            cursor, head = task.last_event_id, RETRY + sse(present(task))
            if task.is_over:
                # Its end is news to this reader all the same.
                cursor -= 1
        elif task.is_over and cursor == task.last_event_id:
            return Response(status_code=204)
        if feeds.readers >= settings.max_streams:
            raise LimitExceeded(f"{feeds.readers} streams are open already", retry_after_seconds=5)
        return EventSourceResponse(
            feeds.stream(log, cursor, head),
            headers={"Cache-Control": "no-cache"},
            ping=0,  # the stream has a heartbeat of its own, after silence only
            shutdown_event=feeds.stopping,
            shutdown_grace_period=1,  # streams end by themselves (`Feeds.close`); to be cut off breaks the response
        )

    async def show(request: Request) -> Response:
        task = await engine.get(request.path_params["operation_id"], principal=principal(request))
        position = await engine.queue_position(task)
        return Response(snapshot(task, queue_position=position).model_dump_json(), media_type="application/json")

    return [
        Route("/progress/{operation_id:path}/stream", _answering_errors(stream)),
        Route("/progress/{operation_id:path}", _answering_errors(show)),
    ]


def health_route(engine: Engine, *, version: str, capabilities: Capabilities, ids: bool) -> Route:
    """Whether the server can work, and the fleet.

    Args:
        capabilities: counts the tools, prompts and resources of the MCP side.
        ids: whether anybody may read which tasks are run; probes have no credentials.
    """

    async def health(request: Request) -> Response:
        body: dict[str, Any] = {"status": "healthy", "version": version, "backend": engine.backend.name}
        try:
            counts = await engine.counts()
            seen = await engine.fleet()
        except Unavailable as error:
            return JSONResponse({**body, "status": "unhealthy", "reason": error.message}, status_code=503)
        body["capabilities"] = dict(await capabilities())
        body["task_types"] = len(engine.registry)
        body["tasks"] = {status.value: counts.get(status, 0) for status in Status}
        body["fleet"] = fleet(seen, ids=ids).model_dump(mode="json")
        return JSONResponse(body)

    return Route("/health", _answering_errors(health))


def error_response(error: CallerError, action: str) -> JSONResponse:
    """A failure as HTTP: the tools' error object with a fitting status."""
    status = next(code for kind, code in STATUS_CODES if isinstance(error, kind))
    reply = wire.Reply[None](
        status="error",
        action=action,
        error=error.message,
        error_code=error.code,
        details=error.details,
        timestamp=wire.timestamp(time.time()),
    )
    headers = {"Retry-After": str(error.details.get("retry_after_seconds", 1))} if status == 503 else None
    return JSONResponse(reply.model_dump(), status_code=status, headers=headers)


def _answering_errors(endpoint: Callable[[Request], Any]) -> Callable[[Request], Any]:
    async def answer(request: Request) -> Response:
        action = endpoint.__name__
        try:
            response: Response = await endpoint(request)
        except CallerError as error:
            return error_response(error, action)
        except Exception:
            incident = uuid.uuid4().hex[:12]
            logger.exception("GET %s failed, incident %s", request.url.path[:200], incident)
            return error_response(Internal(incident), action)
        return response

    return answer


def _cursor(request: Request) -> int:
    """The number of the last event the caller has, from the header or the query; 0 for none."""
    given = request.headers.get(wire.LAST_EVENT_ID)
    for name in ("last_event_id", "last_message_id"):
        given = given or request.query_params.get(name)
    given = (given or "0").strip()
    if given == "0-0":
        return 0
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        shown = given if len(given) <= 80 else given[:77] + "..."
        raise InvalidArgument(
            f"The cursor must be the number of an event, got {shown!r}",
            errors=[{"path": "last_event_id", "message": "not a number", "expected": "0 or more", "got": shown}],
        )
    return int(given)
