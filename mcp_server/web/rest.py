"""Tasks as HTTP resources, for callers that do not speak MCP.

Reads requests and writes responses; `Tasks` does the rest. Bodies are JSON and refuse fields they do not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json, to_json
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from client_sdk import wire

from ..errors import InvalidArgument, cut
from ..signature import explain
from .bodies import AnswersBody, CancelBody, StartBody
from .failures import HTTP_STATUS, BodyTooLarge, Endpoint, NotJSON, answering, error_response
from .openapi import document
from .tasks import Tasks

__all__ = ["rest_routes"]

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
ADVICE = frozenset({"next", "waited"})
"""Fields of replies that are advice to models."""


AnyBody = TypeVar("AnyBody", bound=BaseModel)


def rest_routes(
    tasks: Tasks, *, title: str, version: str, max_body_bytes: int, middleware: Sequence[Middleware] = ()
) -> list[Route]:
    """`/tasks`, `/task-types` and `/openapi.json`, which describes them.

    Args:
        title: the server's name.
        version: the version of this package.
        max_body_bytes: a longer body is answered 413.
        middleware: what requests have to pass.
    """

    async def start_task(request: Request) -> Response:
        body = await _read(request, StartBody, max_body_bytes)
        key = request.headers.get("idempotency-key")
        if key is not None and body.idempotency_key not in (None, key):
            raise InvalidArgument.at("idempotency_key", "differs from the header", cut(key, 80), body.idempotency_key)
        preferred = _preferred_wait(request)
        shown = await tasks.of(request).start(
            body.task_type,
            body.arguments,
            metadata=body.metadata,
            idempotency_key=key or body.idempotency_key,
            priority=body.priority,
            start_after=body.start_after,
            wait=body.wait_seconds if preferred is None else preferred,
        )
        return _started(request, shown, {} if preferred is None else {"Preference-Applied": f"wait={preferred:g}"})

    async def list_tasks(request: Request) -> Response:
        query = request.query_params
        page = await tasks.of(request).list(
            status=query.get("status"),
            task_type=query.get("task_type"),
            limit=int(_number(request, "limit", 20, 1, 100)),
            cursor=query.get("cursor"),
        )
        return _json(page)

    async def get_task(request: Request) -> Response:
        own, operation_id = tasks.of(request), request.path_params["operation_id"]
        seconds = _number(request, "wait", 0.0, 0, 86_400)
        known = _known(request)
        since = int(_number(request, "since", 0, 0)) if "since" in request.query_params else known
        shown = await own.wait(operation_id, seconds, since=since) if seconds else await own.get(operation_id)
        headers = {"ETag": f'W/"{shown.last_event_id}"', "Cache-Control": "private, no-cache"}
        if known == shown.last_event_id:
            return Response(status_code=304, headers=headers)
        return _json(shown, headers=headers)

    async def get_task_events(request: Request) -> Response:
        after, limit = int(_number(request, "after", 0, 0)), int(_number(request, "limit", 100, 1, 500))
        return _json(await tasks.of(request).page(request.path_params["operation_id"], after=after, limit=limit))

    async def stream_tasks(request: Request) -> Response:
        return await tasks.of(request).sse_of_all(request)

    async def stream_task(request: Request) -> Response:
        return await tasks.of(request).sse(request.path_params["operation_id"], request)

    async def get_task_result(request: Request) -> Response:
        operation_id, wait = request.path_params["operation_id"], _number(request, "wait", 0.0, 0, 86_400)
        own = tasks.of(request)
        output = await own.result(operation_id, wait=wait)
        shown = await own.get(operation_id)
        known = shown.model_dump(include={"operation_id", "status", "completed_at"})
        reply = wire.Result(**known, output=output, result=output)
        return _json(reply, exclude=ADVICE | {"page"})

    async def cancel_task(request: Request) -> Response:
        body = await _read(request, CancelBody, max_body_bytes, empty={})
        return _json(await tasks.of(request).cancel(request.path_params["operation_id"], body.reason))

    async def retry_task(request: Request) -> Response:
        return _started(request, await tasks.of(request).retry(request.path_params["operation_id"]), {})

    async def answer_task(request: Request) -> Response:
        body = await _read(request, AnswersBody, max_body_bytes)
        return _json(await tasks.of(request).answer(request.path_params["operation_id"], body.responses))

    async def list_task_types(request: Request) -> Response:
        return _json(wire.TaskTypes(task_types=list(tasks.types())))

    async def describe(request: Request) -> Response:
        described = document(title, version, [task_type.name for task_type in tasks.types()])
        return Response(to_json(described), media_type="application/json")

    resource = partial(_resource, middleware)
    return [
        *resource("/tasks", GET=list_tasks, POST=start_task),
        *resource("/tasks/stream", GET=stream_tasks),
        *resource("/tasks/{operation_id}", GET=get_task),
        *resource("/tasks/{operation_id}/events", GET=get_task_events),
        *resource("/tasks/{operation_id}/stream", GET=stream_task),
        *resource("/tasks/{operation_id}/result", GET=get_task_result),
        *resource("/tasks/{operation_id}/cancel", POST=cancel_task),
        *resource("/tasks/{operation_id}/retry", POST=retry_task),
        *resource("/tasks/{operation_id}/answers", POST=answer_task),
        *resource("/task-types", GET=list_task_types),
        *resource("/openapi.json", GET=describe),
    ]


def _resource(middleware: Sequence[Middleware], path: str, **by_method: Endpoint) -> list[Route]:
    """Routes for the methods of one path, and one that refuses the others with our error object."""
    allowed = set(by_method) | ({"HEAD"} if "GET" in by_method else set())

    async def refuse(request: Request) -> Response:
        error = InvalidArgument.at("method", "is not allowed here", ", ".join(sorted(allowed)), request.method)
        response = error_response(error, "http", HTTP_STATUS, {"Allow": ", ".join(sorted(allowed))})
        response.status_code = 405
        return response

    route = partial(Route, path, middleware=middleware)
    routes = [route(answering(each, HTTP_STATUS), methods=[name]) for name, each in by_method.items()]
    return [*routes, route(refuse, methods=sorted(METHODS - allowed))]


def _started(request: Request, shown: wire.Snapshot, headers: Mapping[str, str]) -> Response:
    """200 with a task that has ended, 202 with one that goes on; `Location` is its address."""
    location = f"{request.scope.get('root_path', '')}/tasks/{shown.operation_id}"
    status = 200 if shown.status in wire.TERMINAL_STATUSES else 202
    return _json(shown, status, {"Location": location, **headers})


def _json(
    data: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None, *, exclude: frozenset[str] = ADVICE
) -> Response:
    text = data.model_dump_json(exclude=set(exclude))
    return Response(text, status, headers, "application/json")


async def _read(request: Request, model: type[AnyBody], most: int, *, empty: Any = None) -> AnyBody:
    """The JSON body of a request.

    Args:
        most: how many bytes it may have.
        empty: what no body stands for; None refuses it.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise BodyTooLarge.at("body", f"is longer than {most} bytes", f"at most {most} bytes", "more")
    if not body and empty is not None:
        return model.model_validate(empty)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not re.fullmatch(r"application/([\w.-]+\+)?json", media_type):
        raise NotJSON.at("Content-Type", "is not JSON", "application/json", cut(media_type, 80))
    try:
        data = from_json(bytes(body), allow_inf_nan=False)
    except ValueError as error:
        raise InvalidArgument.at("body", "is not JSON", "a JSON object", str(error)) from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        known = list(model.model_fields)
        errors = [explain(each, known) for each in error.errors(include_url=False)]
        close = get_close_matches(errors[0]["path"], known, 1) if errors[0]["path"] not in known else []
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise InvalidArgument(f"{errors[0]['path'] or 'body'}: {errors[0]['message']}{hint}", errors=errors) from None


def _number(request: Request, name: str, default: float, least: float, most: float = 1e15) -> float:
    """A number of the query."""
    given = request.query_params.get(name)
    if given is None:
        return default
    is_whole = isinstance(default, int)
    kind, reach = "a whole number" if is_whole else "a number", f"to {most:g}" if most < 1e15 else "or more"
    expected = f"{kind}, {least:g} {reach}"
    if not re.fullmatch(r"\d{1,18}" if is_whole else r"\d{1,18}(\.\d{1,18})?(e[+-]?\d{1,3})?", given, re.ASCII):
        raise InvalidArgument.at(name, "must be a number", expected, cut(given, 80))
    if not least <= float(given) <= most:
        raise InvalidArgument.at(name, "is out of range", expected, cut(given, 80))
    return int(given) if is_whole else float(given)


def _preferred_wait(request: Request) -> float | None:
    """The seconds of `Prefer: wait=N`; a preference of another form is ignored, as RFC 7240 wants it."""
    for header in request.headers.getlist("prefer"):
        for preference in header.split(","):
            name, _, value = preference.partition(";")[0].partition("=")
            value = value.strip().strip('"')
            if name.strip().lower() == "wait" and re.fullmatch(r"\d{1,9}", value, re.ASCII):
                return float(value)
    return None


def _known(request: Request) -> int | None:
    """The number of the newest state the sender has by its `If-None-Match`: our tags are event numbers."""
    tags = re.findall(r'(?:W/)?"(\d{1,18})"', request.headers.get("if-none-match", ""), re.ASCII)
    return max(map(int, tags), default=None)
