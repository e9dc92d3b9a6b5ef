"""The tasks extension, from the client's side: a claim on `tools/call`, a notification, three requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

import anyio
from anyio.abc import TaskGroup
from mcp.client.extension import ClaimContext, ClientExtension, NotificationBinding, ResultClaim
from mcp.client.session import ClientRequestContext, ClientSession
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    REQUEST_TIMEOUT,
    CallToolResult,
    EmptyResult,
    ErrorData,
    InputRequest,
    Request,
    RequestParams,
    Result,
    SubscriptionFilter,
    SubscriptionsListenRequest,
    SubscriptionsListenRequestParams,
)
from pydantic import TypeAdapter

from .._backoff import Backoff, Patience
from .._poll import Callback, call_back
from ..errors import NotFound, TaskCancelled, Unavailable

__all__ = ["TaskState", "TasksExtension"]

_DEFAULT_INTERVAL, _MIN_INTERVAL = 1.0, 0.05
_SAFETY_INTERVAL = 30.0
"""Seconds between polls of a task whose notifications arrive; one of them may be lost."""
_CANCEL_WITHIN = 5.0
_TERMINAL = ("completed", "failed", "cancelled")
_TRANSIENT = (CONNECTION_CLOSED, REQUEST_TIMEOUT, INTERNAL_ERROR)

_input_request: TypeAdapter[InputRequest] = TypeAdapter(InputRequest)

Answer = TypeVar("Answer", bound=Result)


class TaskState(Result):
    """A task as `tasks/get` and `notifications/tasks` show it, in the extension's words."""

    task_id: str
    status: Literal["working", "input_required", "completed", "failed", "cancelled"]
    status_message: str | None = None
    created_at: str
    last_updated_at: str
    ttl_ms: int | None = None
    """Milliseconds from `created_at` for which the server keeps it; None: no limit."""
    poll_interval_ms: int | None = None
    input_requests: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None


class _Created(Result):
    result_type: Literal["task"]
    task_id: str
    poll_interval_ms: int | None = None


class _TaskParams(RequestParams):
    task_id: str


class _UpdateParams(_TaskParams):
    input_responses: dict[str, Any]


class _Get(Request[_TaskParams, Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    params: _TaskParams
    name_param = "taskId"


class _Update(Request[_UpdateParams, Literal["tasks/update"]]):
    method: Literal["tasks/update"] = "tasks/update"
    params: _UpdateParams
    name_param = "taskId"


class _Cancel(Request[_TaskParams, Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    params: _TaskParams
    name_param = "taskId"


class TasksExtension(ClientExtension):
    """Resolves calls that became tasks: `mcp.Client(..., extensions=[TasksExtension()])`.

    The state is learnt from `notifications/tasks` where the server sends them, else by
    polling at the interval it asks for. Questions go through the client's elicitation,
    sampling and roots callbacks; a question that cannot be answered ends the call and the task,
    since no other caller has its id. A call that is cancelled cancels its task.

    What `client.call_tool` raises for a task: MCPError if it failed as the call would
    have, `TaskCancelled` if it was cancelled, `NotFound` if the server dropped it,
    `Unavailable` if the connection is lost; the task then goes on, see `result`.

    Args:
        on_state: called with every `TaskState` that is new, from the first on; keep its
            `task_id` to be able to take the task up again.
        patience: seconds the server may fail to answer before `Unavailable` is raised.
    """

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self, *, on_state: Callback | None = None, patience: float | None = 60.0) -> None:
        self._on_state, self._patience = on_state, Patience(total=patience, longest=5.0)
        self._followed: set[_Followed] = set()

    def claims(self) -> Sequence[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=_Created, resolve=self._resolve)]

    def notifications(self) -> Sequence[NotificationBinding[Any]]:
        return [NotificationBinding(method="notifications/tasks", params_type=TaskState, handler=self._notified)]

    async def result(self, session: ClientSession, task_id: str) -> CallToolResult:
        """The result of a task started earlier: `await tasks.result(client.session, task_id)`.

        Cancelling this does not cancel the task.
        """
        return await self._follow(_Followed(session, task_id, self._patience))

    async def cancel(self, session: ClientSession, task_id: str) -> None:
        """Ask the server to end a task. It may still complete."""
        await _Followed(session, task_id, self._patience).cancel()

    async def _resolve(self, created: _Created, ctx: ClaimContext) -> CallToolResult:
        followed = _Followed(ctx.session, created.task_id, self._patience, timeout=ctx.read_timeout_seconds)
        try:
            return await self._follow(followed)
        except BaseException as error:
            if followed.failure is not None or not isinstance(error, Exception):
                # No other caller has the id, so the task could never be answered and its result never fetched.
                with anyio.move_on_after(_CANCEL_WITHIN, shield=True), suppress(MCPError, Unavailable):
                    await followed.cancel()
            raise

    async def _follow(self, followed: _Followed) -> CallToolResult:
        self._followed.add(followed)
        outcome: CallToolResult | Exception
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(followed.listen)
                try:
                    outcome = await followed.to_the_end(group, self._on_state)
                except Exception as error:
                    outcome = error  # it leaves the task group as itself and not as a group of one
                group.cancel_scope.cancel()
        finally:
            self._followed.discard(followed)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def _notified(self, state: TaskState) -> None:
        for followed in self._followed:
            if followed.task_id == state.task_id:
                followed.on_notification(state)


class _Followed:
    """One task on its way to its end."""

    def __init__(self, session: ClientSession, task_id: str, patience: Patience, timeout: float | None = None) -> None:
        self.task_id = task_id
        self._session, self._patience, self._timeout = session, patience, timeout
        self._state: TaskState | None = None
        self.failure: Exception | None = None
        """Why a question of the task's could not be answered."""
        self._news = anyio.Event()
        self._notified = False
        self._asked: set[str] = set()

    def on_notification(self, state: TaskState) -> None:
        """Take over a state that the server sent unasked."""
        self._notified = True
        self._learn(state)

    async def listen(self) -> None:
        """Have `notifications/tasks` sent for as long as this runs; a server without them refuses at once."""
        wanted = SubscriptionFilter.model_validate({"taskIds": [self.task_id]})
        request = SubscriptionsListenRequest(params=SubscriptionsListenRequestParams(notifications=wanted))
        backoff = Backoff(Patience(total=None))
        while True:
            try:
                await self._session.send_request(request, EmptyResult)
            except MCPError as error:
                if error.code not in (CONNECTION_CLOSED, REQUEST_TIMEOUT):
                    return
            if self._notified:
                backoff.succeeded()
            # Until the stream is back, polls go on; what was said meanwhile would be missed otherwise.
            self._notified = False
            self._news.set()
            await backoff.pause()

    async def to_the_end(self, group: TaskGroup, on_state: Callback | None) -> CallToolResult:
        self._learn(await self._get())
        shown: TaskState | None = None
        while True:
            if self.failure is not None:
                raise self.failure
            state = self._state
            assert state is not None
            if state is not shown:
                shown = state
                await call_back(on_state, state)
            match state.status:
                case "completed":
                    return CallToolResult.model_validate(state.result, by_name=False)
                case "failed":
                    raise MCPError.from_error_data(ErrorData.model_validate(state.error))
                case "cancelled":
                    raise TaskCancelled(
                        "The task was cancelled", operation_id=self.task_id, reason=state.status_message
                    )
                case "input_required":
                    for key in (state.input_requests or {}).keys() - self._asked:
                        self._asked.add(key)
                        group.start_soon(self._ask, key, (state.input_requests or {})[key])
            with anyio.move_on_after(self._interval(state)) as silence:
                await self._news.wait()
            if silence.cancelled_caught:
                self._learn(await self._get())
            self._news = anyio.Event()

    async def cancel(self) -> None:
        await self._request(_Cancel(params=_TaskParams(task_id=self.task_id)), EmptyResult)

    def _interval(self, state: TaskState) -> float:
        if self._notified:
            return _SAFETY_INTERVAL
        asked_for = state.poll_interval_ms
        return _DEFAULT_INTERVAL if asked_for is None else max(_MIN_INTERVAL, asked_for / 1000)

    def _learn(self, state: TaskState) -> None:
        # Notifications may overtake each other; a state never goes back.
        known = self._state
        if known is not None and (known.status in _TERMINAL or state.model_copy(update={"meta": known.meta}) == known):
            return
        if known is None or state.status in _TERMINAL or state.last_updated_at >= known.last_updated_at:
            self._state = state
            self._news.set()

    async def _ask(self, key: str, raw: Mapping[str, Any]) -> None:
        try:
            request = _input_request.validate_python(raw, by_name=False)
            meta = request.params.meta if request.params else None
            ctx = ClientRequestContext(session=self._session, request_id=key, meta=meta)
            response = await self._session.dispatch_input_request(ctx, request)
            if isinstance(response, ErrorData):
                raise MCPError.from_error_data(response)
            answer = {key: response.model_dump(mode="json", by_alias=True, exclude_none=True)}
            await self._request(
                _Update(params=_UpdateParams(task_id=self.task_id, input_responses=answer)), EmptyResult
            )
        except Exception as error:
            self.failure = error
            self._news.set()

    async def _get(self) -> TaskState:
        try:
            return await self._request(_Get(params=_TaskParams(task_id=self.task_id)), TaskState)
        except MCPError as error:
            if error.code == INVALID_PARAMS:
                raise NotFound(error.message, operation_id=self.task_id) from error
            raise

    async def _request(self, request: Request[Any, Any], answer: type[Answer]) -> Answer:
        backoff = Backoff(self._patience)
        while True:
            try:
                return await self._session.send_request(request, answer, request_read_timeout_seconds=self._timeout)
            except MCPError as error:
                if error.code not in _TRANSIENT:
                    raise
                if not await backoff.pause():
                    raise Unavailable(
                        f"The server cannot be asked: {error.message}", operation_id=self.task_id
                    ) from error
