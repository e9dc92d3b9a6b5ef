"""Requests to one server; answers become models, failures become errors of `errors`.

The only module that speaks HTTP and JSON-RPC, and the only one that sees httpx2's
errors: they are mapped here, once. Tools are called with a bare `tools/call`, without
a session, so nothing has to be kept up between two calls. Knows nothing of tasks' lives.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ValidationError

from ._backoff import Backoff, Patience
from ._http import bearer, blamed, is_loopback, open_http
from ._json import body_of_call
from .errors import LimitExceeded, LongTaskClientError, Refused, Unavailable, cut, error_of_reply
from .wire import LAST_EVENT_ID, Reply, Snapshot, TaskDetail

__all__ = ["AnswerLost", "Connection", "Silence", "as_model", "error_of_response", "parsed"]

Model = TypeVar("Model", bound=BaseModel)

_ANSWER_TIMEOUT = 30.0
_CONNECT_TIMEOUT = 10.0
_MAX_EVENT_BYTES = 64 * 1024 * 1024
"""Far above the server's own bound (4 MiB by default), which an operator may raise."""


class AnswerLost(Unavailable):
    """The request may have arrived, but its answer did not come back."""


class Silence(AnswerLost):
    """The connection is open, but nothing arrives on it."""


class Connection:
    """Requests to one server.

    Args:
        base_url: where it is mounted, without `/mcp`; may have a path.
        token: sent as `Authorization: Bearer`.
        http: a client of the caller's, for TLS settings, proxies or headers; it is not closed here.
    """

    def __init__(self, base_url: str, token: str | None = None, http: httpx2.AsyncClient | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self._owned = http is None
        self._headers = bearer(token)
        self._http = http or open_http(self.base_url)
        self._ids = itertools.count(1)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def aclose(self) -> None:
        if self._owned:
            await self._http.aclose()

    async def call(
        self,
        tool: str,
        arguments: Mapping[str, Any],
        model: type[Model],
        *,
        operation_id: str | None = None,
        wait: float = 0.0,
        tries: int = 3,
    ) -> Model:
        """Call a tool and read its `data`.

        Args:
            wait: seconds the server may hold the answer back.
            tries: how often the call is made when its answer is lost on the way; 1 if twice would do harm.

        Raises:
            LongTaskClientError: the answer is an error, or there is none.
        """
        backoff = Backoff(Patience(longest=2.0))
        for attempt in range(1, tries + 1):
            try:
                message = await self.call_raw(tool, arguments, operation_id=operation_id, wait=wait)
                return _data(message, model, operation_id)
            except AnswerLost as lost:
                if attempt == tries:
                    raise
                # Most often it was a kept connection that the other side had just closed: the next one is fresh.
                if attempt > 1 or lost.retry_after:
                    await backoff.pause(lost.retry_after)
        raise AssertionError("unreachable: the last try returns or raises")

    async def call_raw(
        self, tool: str, arguments: Mapping[str, Any], *, operation_id: str | None = None, wait: float = 0.0
    ) -> dict[str, Any]:
        """Call a tool once; the JSON-RPC answer as it came, error answers included."""
        request = body_of_call(next(self._ids), tool, arguments, operation_id)
        response = await self._request("POST", "/mcp", operation_id, wait=wait, content=request)
        # JSON-RPC errors come with statuses of 400 and up; the message says more than the status.
        match message := _json(response):
            case {"jsonrpc": _, "result": dict()} | {"jsonrpc": _, "error": _}:
                answer: dict[str, Any] = message
                return answer
        raise error_of_response(response, operation_id)

    async def snapshot(self, operation_id: str) -> Snapshot:
        """The task as it is now, with its whole output."""
        return await self._snapshot(operation_id, "", Snapshot)

    async def detail(self, operation_id: str) -> TaskDetail:
        """The snapshot with what the task was started with."""
        return await self._snapshot(operation_id, "?detail=1", TaskDetail)

    async def _snapshot(self, operation_id: str, query: str, model: type[Model]) -> Model:
        response = await self._request("GET", f"/progress/{_quoted(operation_id)}{query}", operation_id)
        snapshot = _json(response)
        if response.status_code != 200 or not isinstance(snapshot, dict):
            raise error_of_response(response, operation_id)
        return as_model(snapshot, model, operation_id)

    async def health(self) -> dict[str, Any]:
        """The body of `/health`, also with status 503."""
        response = await self._request("GET", "/health", None)
        health = _json(response)
        if response.status_code not in (200, 503) or not isinstance(health, dict) or "status" not in health:
            raise error_of_response(response, None)
        return health

    @asynccontextmanager
    async def stream(self, operation_id: str, *, after: int, silence: float) -> AsyncIterator[httpx2.EventSource]:
        """The task's events after the cursor, as the server sends them; the status is not checked.

        Args:
            silence: seconds without a byte after which the connection counts as lost.

        Raises:
            Unavailable: also from within the block, when the connection breaks.
        """
        self._check_loop()
        with self._transport_errors(operation_id):
            async with self._http.sse(
                f"{self.base_url}/progress/{_quoted(operation_id)}/stream",
                # A proxy that compresses would hold events back until a block is full.
                headers={
                    "Accept-Encoding": "identity",
                    **self._headers,
                    **({LAST_EVENT_ID: str(after)} if after else {}),
                },
                timeout=httpx2.Timeout(_ANSWER_TIMEOUT, connect=_CONNECT_TIMEOUT, read=silence),
                max_event_size=_MAX_EVENT_BYTES,
            ) as source:
                yield source

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if self._loop is not loop:
            raise RuntimeError(
                "This client was used in another event loop; each `asyncio.run` needs one of its own. "
                "`client_sdk.sync` has one that needs no `asyncio.run`"
            )

    async def _request(
        self, method: str, path: str, operation_id: str | None, *, wait: float = 0.0, content: bytes | None = None
    ) -> httpx2.Response:
        self._check_loop()
        with self._transport_errors(operation_id):
            return await self._http.request(
                method,
                self.base_url + path,
                content=content,
                headers={"Accept": "application/json", "Content-Type": "application/json", **self._headers},
                timeout=httpx2.Timeout(_ANSWER_TIMEOUT, connect=_CONNECT_TIMEOUT, read=_ANSWER_TIMEOUT + wait),
            )

    @contextmanager
    def _transport_errors(self, operation_id: str | None) -> Iterator[None]:
        try:
            yield
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.ProxyError) as error:
            hint = "; `longtasks serve` starts one" if is_loopback(self.base_url) else ""
            message = f"No server answers at {self.base_url}: {_said(error)}{hint}{self._blamed(error)}"
            raise Unavailable(message, operation_id=operation_id) from error
        except httpx2.ReadTimeout as error:
            raise Silence("The server did not answer in time", operation_id=operation_id) from error
        except (httpx2.UnsupportedProtocol, httpx2.InvalidURL, httpx2.TooManyRedirects) as error:
            message = f"The base URL {cut(self.base_url, 200)} is no good: {_said(error)}"
            raise Refused(message, operation_id=operation_id, error_code="URL") from error
        except httpx2.RequestError as error:
            message = f"The connection broke: {_said(error)}{self._blamed(error)}"
            raise AnswerLost(message, operation_id=operation_id) from error

    def _blamed(self, error: Exception) -> str:
        return blamed(self.base_url, error) if self._owned else ""


def error_of_response(response: httpx2.Response, operation_id: str | None) -> LongTaskClientError:
    """The error that an unexpected HTTP answer stands for."""
    body = _json(response)
    if isinstance(body, dict) and body.get("error_code"):
        with suppress(ValidationError):
            return error_of_reply(Reply[Any].model_validate({"action": "", "timestamp": "", **body}), operation_id)
    code, retry_after = response.status_code, _retry_after(response)
    if code == 429:
        return LimitExceeded("The server takes no more for now", operation_id=operation_id, retry_after=retry_after)
    if code >= 500:
        return AnswerLost(f"The server answered HTTP {code}", operation_id=operation_id, retry_after=retry_after)
    if code in (401, 403):
        message = f"{response.request.url} answered HTTP {code}: it asks for a token, or for another one"
    else:
        message = f"{response.request.url} answered HTTP {code}, which is no answer of a long-task server"
    return Refused(message, operation_id=operation_id, error_code=f"HTTP_{code}")


def _data(message: Mapping[str, Any], model: type[Model], operation_id: str | None) -> Model:
    if "error" in message:
        error = message["error"] if isinstance(message["error"], dict) else {}
        text, code = str(error.get("message", "refused")), error.get("code")
        if code == -32603:
            raise Unavailable(f"The server failed: {text}", operation_id=operation_id)
        raise Refused(text, operation_id=operation_id, error_code=f"JSONRPC_{code}", details=error.get("data"))
    reply = as_model(parsed(message), Reply[Any], operation_id)
    if reply.status == "error":
        raise error_of_reply(reply, operation_id)
    return as_model(reply.data, model, operation_id)


def parsed(message: Mapping[str, Any]) -> Any:
    """The answer of a tool: its structured content, or its text read as JSON, or the text."""
    result = message.get("result", {})
    if result.get("structuredContent") is not None:
        return result["structuredContent"]
    blocks = [block for block in result.get("content") or () if isinstance(block, dict)]
    text = "".join(str(block["text"]) for block in blocks if block.get("type") == "text")
    try:
        return json.loads(text)
    except ValueError:
        return text


def as_model(value: Any, model: type[Model], operation_id: str | None) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise Refused(
            f"The server's answer is no {model.__name__}; is {__package__} older or newer than it by far?",
            operation_id=operation_id,
            error_code="UNREADABLE",
            details={"errors": error.errors(include_url=False, include_input=False)},
        ) from error


def _json(response: httpx2.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _retry_after(response: httpx2.Response) -> float | None:
    try:
        return max(0.0, float(response.headers.get("Retry-After", "")))
    except ValueError:
        return None


def _quoted(operation_id: str) -> str:
    return quote(operation_id, safe="")


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
