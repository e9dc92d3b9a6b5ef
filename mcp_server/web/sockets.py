"""`/tasks/{operation_id}/ws`: one task over a WebSocket, for readers who also want to say something.

The server sends the events of the task, each as one message with its number, and replies to what it is asked.
No message waits in a queue of ours: a reader that is slow is read for more slowly (`feed.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal

import anyio
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json
from starlette.middleware import Middleware
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from client_sdk import wire

from ..background import background_tasks
from ..errors import CallerError, Internal, InvalidArgument, LimitExceeded, NotFound, TryLater, cut
from ..signature import explain
from .failures import error_object
from .feed import Segment
from .sse import cursor_of
from .tasks import Tasks

__all__ = ["CLOSE_CODES", "socket_route"]

logger = logging.getLogger(__name__)

CLOSE_CODES: Mapping[int, str] = {
    1000: "the task has ended, and all its events were sent",
    1001: "the server stops; come back with the last number",
    1003: "a message was not text",
    4400: "the number in the address is none",
    4401: "the credential is missing or void",
    4404: "no such task for this caller",
    4429: "too many streams are open",
    4500: "a mistake of the server's",
    4503: "the store does not answer",
}


class _Said(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class _Resume(_Said):
    type: Literal["resume"]
    after: int = Field(ge=0, le=10**15)


class _Cancel(_Said):
    type: Literal["cancel"]
    reason: str | None = Field(default=None, min_length=1, max_length=2000)


class _Answer(_Said):
    type: Literal["answer"]
    responses: dict[str, Any] = Field(min_length=1)


_Message = Annotated[_Resume | _Cancel | _Answer, Field(discriminator="type")]
_MESSAGE: TypeAdapter[_Resume | _Cancel | _Answer] = TypeAdapter(_Message)

CODES: tuple[tuple[type[CallerError], int], ...] = (
    (NotFound, 4404),
    (LimitExceeded, 4429),
    (TryLater, 4503),
    (Internal, 4500),
    (CallerError, 4400),
)


def socket_route(
    tasks: Tasks, *, is_let_in: Callable[[WebSocket], bool], middleware: Sequence[Middleware] = ()
) -> WebSocketRoute:
    """The route.

    Args:
        is_let_in: whether the sender of the opening request may have tasks at all.
        middleware: what the opening request has to pass.
    """

    async def converse(websocket: WebSocket) -> None:
        # A close code reaches the client only after the opening has been accepted.
        await websocket.accept()
        if not is_let_in(websocket):
            await _close(websocket, 4401)
            return
        await _Conversation(websocket, tasks.of(websocket)).run()

    return WebSocketRoute("/tasks/{operation_id}/ws", converse, middleware=middleware)


class _Conversation:
    def __init__(self, websocket: WebSocket, tasks: Tasks) -> None:
        self._websocket, self._tasks = websocket, tasks
        self._id: str = websocket.path_params["operation_id"]
        self._after: int | None = 0
        self._lock = anyio.Lock()
        self._sending = anyio.CancelScope()
        self._close_code: int | None = None

    async def run(self) -> None:
        try:
            self._after = cursor_of(self._websocket)
            async with background_tasks() as beside:
                beside.start_soon(self._listen)
                code = await self._send_events()
        except WebSocketDisconnect:
            return
        except CallerError as error:
            code = next(code for kind, code in CODES if isinstance(error, kind))
        except Exception:
            Internal.logged(logger, f"the WebSocket of task {cut(self._id, 80)}")
            code = 4500
        await _close(self._websocket, code)

    async def _send_events(self) -> int:
        """Send the events to the last; the code to close with. A `resume` begins anew after its number."""
        while self._close_code is None:
            with anyio.CancelScope() as self._sending:
                async with aclosing(self._tasks.follow(self._id, self._after)) as segments:
                    async for segment in segments:
                        if segment is None:
                            continue  # the protocol has pings of its own
                        for message in segment.encoded(_messages).split(b"\n"):
                            await self._send(message)
                        if segment.is_end:
                            return 1000
                return 1000 if (await self._tasks.get(self._id)).status in wire.TERMINAL_STATUSES else 1001
        return self._close_code

    async def _listen(self) -> None:
        while True:
            message = await self._websocket.receive()
            text = message.get("text")
            if message["type"] == "websocket.disconnect" or text is None:
                self._close_code = 1003
                self._sending.cancel()
                return
            reply = await self._reply(text)
            try:
                await self._send(reply)
            except WebSocketDisconnect:
                return  # those who send events find out as well

    async def _reply(self, text: str) -> bytes:
        action = "message"
        try:
            said = _understood(text)
            action = said.type
            data: BaseModel | None = None
            match said:
                case _Resume():
                    self._after = said.after
                    self._sending.cancel()
                case _Cancel():
                    data = await self._tasks.cancel(self._id, said.reason)
                case _Answer():
                    data = await self._tasks.answer(self._id, said.responses)
        except CallerError as error:
            return _refusal(error, action)
        except Exception:
            return _refusal(Internal.logged(logger, f"{action} over a WebSocket"), action)
        shown = None if data is None else data.model_dump(mode="json", exclude={"next", "waited"})
        return to_json({"type": "reply", "status": "success", "action": action, "data": shown})

    async def _send(self, message: bytes) -> None:
        # Events and replies come from two tasks; the server's own flow control holds both up for a slow reader.
        async with self._lock:
            await self._websocket.send_text(message.decode())


async def _close(websocket: WebSocket, code: int) -> None:
    with suppress(RuntimeError, WebSocketDisconnect):  # closed by the other side already
        await websocket.close(code, CLOSE_CODES[code])


def _refusal(error: CallerError, action: str) -> bytes:
    return to_json({"type": "reply", **error_object(error, action).model_dump()})


def _messages(segment: Segment) -> bytes:
    """The frames of a segment as one message a line."""
    shown = zip(segment.frames, segment.json, strict=True)
    return b"\n".join(
        b'{"type":"event","id":%b,"event":%b,"data":%b}' % (to_json(number), to_json(name), data)
        for (number, name, _), data in shown
    )


def _understood(text: str) -> _Resume | _Cancel | _Answer:
    try:
        return _MESSAGE.validate_python(from_json(text, allow_inf_nan=False))
    except ValidationError as error:
        errors = [explain(each) for each in error.errors(include_url=False)]
        raise InvalidArgument(f"{errors[0]['path'] or 'message'}: {errors[0]['message']}", errors=errors) from None
    except ValueError as error:
        raise InvalidArgument.at("message", "is not JSON", "a JSON object", str(error)) from None
