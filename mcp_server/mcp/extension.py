"""`TasksExtension`: the tasks extension `io.modelcontextprotocol/tasks` (SEP-2663) on an engine.

An SDK `Extension`, usable with any `MCPServer`; `LongTaskServer` uses it too. It makes
each task type a tool, turns calls of them into tasks for clients that declare the
extension (others: `type_tools.py`), and serves `tasks/get`, `tasks/update` and
`tasks/cancel`. Pushes are in `notifications.py`.

A task is shown as plain dicts, because `ttlMs: null` has to reach the wire and the SDK
leaves nulls out of models. Our own numbers travel in `_meta` under a name of ours; the
extension has no place for them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ToolBinding
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import HEADER_MISMATCH, INTERNAL_ERROR, INVALID_PARAMS, CallToolRequestParams, RequestParams
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from client_sdk import wire

from ..engine import Engine
from ..errors import CallerError, InvalidArgument, NotFound
from ..registry import TaskType
from ..task import Status, Task
from ..views import snapshot
from .advice import status_line
from .caller import TASKS, Caller, is_bare, missing_extension
from .notifications import TaskPushes
from .reply import POLL_INTERVAL_SECONDS, TaskReplies, stream_url
from .results import error_reply, protocol_error, tool_result
from .rounds import Round
from .type_tools import TypeToolCalls, task_tool
from .wait import Waiter

__all__ = ["TasksExtension"]

Request = ServerRequestContext[Any, Any]

_STATUS: Mapping[Status, str] = {
    Status.QUEUED: "working",
    Status.RUNNING: "working",
    Status.INPUT_REQUIRED: "input_required",
    Status.COMPLETED: "completed",
    # A failure that is no error of the protocol is a result that says so.
    Status.FAILED: "completed",
    Status.CANCELLED: "cancelled",
}

_IN_META = (
    "status", "progress", "message", "current", "total", "stage", "attempt", "elapsed_seconds", "estimated_remaining",
    "queue_position",
)  # fmt: skip


class _TaskParams(RequestParams):
    task_id: str


class _UpdateParams(_TaskParams):
    # Any object: answers to keys that are not open are ignored, whatever they look like.
    input_responses: dict[str, Any]


class TasksExtension(Extension):
    """Tools that run in the background, for an existing SDK server.

    `MCPServer("x", extensions=[tasks], middleware=[tasks.listen], lifespan=tasks.lifespan)`:
    the middleware adds `notifications/tasks` and may be left out; without the lifespan,
    keep `engine.run()` entered by other means while the server runs.

    Args:
        engine: its task types become tools. Types registered after the server was made
            are added with `server.add_tool`, see `binding`.
        tools: False serves tasks that were started otherwise, and offers no tools.
        replies: those of `LongTaskServer`, which has `get_task_result` and the other tools for tasks, so
            that a client without the extension can be answered with a handle. Without them its call is
            held until the task is over.
        stream_url: where a task's event stream is, with `{operation_id}` in it; told to clients. What
            begins with a slash is a path of this server, told to those who came over HTTP.
    """

    identifier = TASKS

    def __init__(
        self,
        engine: Engine,
        *,
        tools: bool = True,
        replies: TaskReplies | None = None,
        stream_url: str | None = None,
    ) -> None:
        self._engine, self._stream_url = engine, stream_url
        self._offers_tools = tools
        self._is_running = False
        self._calls = TypeToolCalls(replies or TaskReplies(engine, Waiter(engine)), handles=replies is not None)
        self.listen = TaskPushes(engine, self._shown)

    @asynccontextmanager
    async def lifespan(self, server: object) -> AsyncIterator[dict[str, Any]]:
        """Runs the engine; free when it runs already, since the SDK may enter this for each connection."""
        if self._is_running:
            yield {}
            return
        self._is_running = True
        try:
            async with self._engine.run():
                yield {}
        finally:
            self._is_running = False

    # What the SDK asks of an extension.

    def tools(self) -> Sequence[ToolBinding]:
        return [self.binding(task_type) for task_type in self._engine.registry] if self._offers_tools else []

    def binding(self, task_type: TaskType) -> ToolBinding:
        """The tool of one task type."""
        return task_tool(self._engine, task_type)

    def methods(self) -> Sequence[MethodBinding]:
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding("tasks/get", _TaskParams, self._get, versions),
            MethodBinding("tasks/update", _UpdateParams, self._update, versions),
            MethodBinding("tasks/cancel", _TaskParams, self._cancel, versions),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: Request, call_next: CallNext
    ) -> HandlerResult:
        if not self._offers_tools or params.name not in self._engine.registry:
            return await call_next(ctx)
        task_type = self._engine.registry.get(params.name)
        try:
            return await self._call(task_type, params, ctx)
        except CallerError as error:
            return error_reply(task_type.name, error, terse=not is_bare(ctx))

    # Calls of a task type's tool.

    async def _call(self, task_type: TaskType, params: CallToolRequestParams, ctx: Request) -> HandlerResult:
        caller = Caller.of(ctx)
        if task_type.policy.mode == "required" and not caller.declares_tasks:
            raise missing_extension()
        if (resumed := await self._calls.resumed(params, caller)) is not None:
            return await self._calls.finish_call(resumed, task_type, caller, ctx)
        # A bad argument is refused before there is a task.
        task_type.bind(params.arguments or {})
        this_round = Round.of(params, task_type.ask_first)
        if this_round.open and caller.modern and caller.answers_forms:
            return this_round.ask()
        given_key = (ctx.meta or {}).get(wire.IDEMPOTENCY_META_KEY)
        task = await self._engine.start(
            task_type.name,
            params.arguments,
            principal=caller.principal,
            idempotency_key=given_key if isinstance(given_key, str) else this_round.start_key,
            answers=this_round.answers,
        )
        if caller.declares_tasks and task_type.policy.mode != "never":
            return _create_result(task, stream_url=self._url(task, caller))
        return await self._calls.finish_call(task, task_type, caller, ctx)

    # The methods of the extension.

    async def _get(self, ctx: Request, params: _TaskParams) -> HandlerResult:
        caller = _admitted(ctx, params)
        with _refusals():
            task = await self._engine.get(params.task_id, principal=caller.principal)
            return {"resultType": "complete", **await self._shown(task, caller)}

    async def _update(self, ctx: Request, params: _UpdateParams) -> HandlerResult:
        caller = _admitted(ctx, params)
        with _refusals():
            await self._engine.answer(params.task_id, params.input_responses, principal=caller.principal)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: Request, params: _TaskParams) -> HandlerResult:
        caller = _admitted(ctx, params)
        with _refusals():
            await self._engine.cancel(params.task_id, principal=caller.principal)
        return {"resultType": "complete"}

    async def _shown(self, task: Task, caller: Caller) -> dict[str, Any]:
        known = task.type in self._engine.registry
        return _detailed_task(
            task,
            self._engine.registry.get(task.type).output_schema if known else None,
            shows_questions=caller.answers_forms,
            stream_url=self._url(task, caller),
            queue_position=await self._engine.queue_position(task),
        )

    def _url(self, task: Task, caller: Caller) -> str | None:
        return None if self._stream_url is None else stream_url(self._stream_url, task, caller)


def _admitted(ctx: Request, params: _TaskParams) -> Caller:
    """The sender of a `tasks/…` request that may be answered.

    Raises:
        MCPError: the routing header does not name the task, or the extension was not declared.
    """
    named = None if ctx.request is None else ctx.request.headers.get(MCP_NAME_HEADER)
    # A server MUST refuse a wrong one. Clients MUST send one, for routers on their way that need it; what a
    # server does without is not said, nothing here routes by it, and FastMCP 4 sends none.
    if named is not None and decode_header_value(named) != params.task_id:
        raise MCPError(HEADER_MISMATCH, "The Mcp-Name header must be the taskId of the request")
    caller = Caller.of(ctx)
    if not caller.declares_tasks:
        raise missing_extension()
    return caller


@contextmanager
def _refusals() -> Iterator[None]:
    """Our errors as errors of JSON-RPC."""
    try:
        yield
    except (NotFound, InvalidArgument) as error:
        raise MCPError(INVALID_PARAMS, error.message, error.details or None) from None
    except CallerError as error:
        raise MCPError(INTERNAL_ERROR, error.message, {"error_code": error.code, **error.details}) from None


def _create_result(task: Task, *, stream_url: str | None = None) -> dict[str, Any]:
    """The answer to a tool call that became a task."""
    return {"resultType": "task", **_task(task, _STATUS[task.status], stream_url, None)}


def _detailed_task(
    task: Task,
    output_schema: Mapping[str, Any] | None,
    *,
    shows_questions: bool,
    stream_url: str | None = None,
    queue_position: int | None = None,
) -> dict[str, Any]:
    """The whole of a task as `tasks/get` and `notifications/tasks` show it.

    Args:
        output_schema: what its type says it returns.
        shows_questions: whether the client declared the kind of question we ask. To one
            that did not, a waiting task is simply not ready yet.
    """
    status = _STATUS[task.status]
    extra: dict[str, Any] = {}
    if status == "input_required":
        if shows_questions:
            extra["inputRequests"] = {key: dict(request) for key, request in task.input_requests.items()}
        else:
            status = "working"
    elif status == "completed":
        if (error := protocol_error(task)) is not None:
            status = "failed"
            extra["error"] = error.error.model_dump(mode="json", exclude_none=True)
        else:
            # With a `resultType` of its own: the extension's TypeScript client reads no result without one.
            extra["result"] = tool_result(task, output_schema, terse=True).model_dump(
                mode="json", by_alias=True, exclude_none=True
            )
    return {**_task(task, status, stream_url, queue_position), **extra}


def _task(task: Task, status: str, stream_url: str | None, queue_position: int | None) -> dict[str, Any]:
    shown = snapshot(task, queue_position=queue_position).model_dump(mode="json", include=set(_IN_META))
    numbers = {**shown, "cursor": task.last_event_id}
    if stream_url is not None:
        numbers["stream_url"] = stream_url
    return {
        "taskId": task.id,
        "status": status,
        "statusMessage": status_line(task),
        "createdAt": wire.timestamp(task.created_at),
        "lastUpdatedAt": wire.timestamp(task.updated_at),
        # A live task is kept without limit; the time it is kept for counts from its end.
        "ttlMs": None if task.expires_at is None else max(1, round((task.expires_at - task.created_at) * 1000)),
        "pollIntervalMs": round(POLL_INTERVAL_SECONDS * 1000),
        "_meta": {wire.TASK_META_KEY: numbers},
    }
