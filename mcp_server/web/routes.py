"""`/progress/{id}/stream`, `/progress/{id}` and `/health`, as Starlette routes.

Reads requests and writes responses; what is in them comes from `views` and `feed`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from sse_starlette import EventSourceResponse
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from client_sdk import wire

from ..access.principal import Principal
from ..engine import Engine
from ..errors import CallerError, InsufficientScope, Internal, LimitExceeded, NotFound, TryLater, Unavailable, cut
from ..log import Log
from ..task import Status
from ..views import fleet, snapshot
from .feed import Feeds
from .sse import HEARTBEAT, RETRY, cursor_of, encode, encode_data
from .ui_messages import DONE, UI_MESSAGE_HEADERS, UIMessages

__all__ = ["error_response", "health_route", "progress_routes"]

logger = logging.getLogger(__name__)

STATUS_CODES: tuple[tuple[type[CallerError], int], ...] = (
    (NotFound, 404),
    (InsufficientScope, 403),
    (TryLater, 503),
    (Internal, 500),
    (CallerError, 400),
)

Sender = Callable[[Request], Principal]
Capabilities = Callable[[], Awaitable[Mapping[str, int]]]


def progress_routes(
    engine: Engine, feeds: Feeds, *, principal: Sender, middleware: Sequence[Middleware] = ()
) -> list[Route]:
    """The streams and the snapshot of one engine's tasks.

    Args:
        principal: gives the sender of a request.
        middleware: stands before each of them.
    """
    settings = engine.settings

    async def streamed(
        request: Request, body: Callable[[Log, int | None], AsyncIterator[bytes]], headers: Mapping[str, str]
    ) -> Response:
        log = await engine.open(request.path_params["operation_id"], principal=principal(request))
        cursor = cursor_of(request)
        if log.task.is_over and cursor == log.task.last_event_id:
            return Response(status_code=204)
        if feeds.readers >= settings.max_streams:
            raise LimitExceeded(f"{feeds.readers} streams are open already", retry_after_seconds=5)
        return EventSourceResponse(
            body(log, cursor),
            headers={"Cache-Control": "no-cache", **headers},
            ping=0,  # the stream has a heartbeat of its own, after silence only
            shutdown_event=feeds.stopping,
            shutdown_grace_period=1,  # streams end by themselves (`Feeds.close`); to be cut off breaks the response
        )

    async def stream(request: Request) -> Response:
        async def text(log: Log, cursor: int | None) -> AsyncIterator[bytes]:
            yield RETRY
            async with aclosing(feeds.follow(log, cursor)) as segments:
                async for segment in segments:
                    yield HEARTBEAT if segment is None else segment.encoded(encode)

        return await streamed(request, text, {})

    async def ui_messages(request: Request) -> Response:
        async def text(log: Log, cursor: int | None) -> AsyncIterator[bytes]:
            messages = UIMessages(log.task.id, log.task.last_event_id if cursor is None else cursor)
            # From the first event on, also for a reader in the middle: which block is open there stands before it.
            async with aclosing(feeds.follow(log, 0)) as segments:
                async for segment in segments:
                    if segment is None:
                        yield HEARTBEAT
                        continue
                    chunks = [chunk for frame in segment.frames for chunk in messages.chunks(*frame)]
                    if chunks:
                        yield encode_data(chunks)
                    if segment.is_end:
                        yield DONE

        return await streamed(request, text, UI_MESSAGE_HEADERS)

    async def show(request: Request) -> Response:
        task = await engine.get(request.path_params["operation_id"], principal=principal(request))
        position = await engine.queue_position(task)
        return Response(snapshot(task, queue_position=position).model_dump_json(), media_type="application/json")

    return [
        Route("/progress/{operation_id:path}/stream", _answering_errors(stream), middleware=middleware),
        Route("/progress/{operation_id:path}/ui-messages", _answering_errors(ui_messages), middleware=middleware),
        Route("/progress/{operation_id:path}", _answering_errors(show), middleware=middleware),
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
            counts, seen = await engine.census()
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
            return error_response(Internal.logged(logger, f"GET {cut(request.url.path, 200)}"), action)
        return response

    return answer
