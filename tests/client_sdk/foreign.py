"""A server that speaks the tasks extension and has nothing of ours: the official SDK's, and a dictionary.

It keeps tasks in memory, sends no notifications, and says what the specification asks
for and no more. A task moves on by being looked at, so no test waits for a clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from mcp.server.context import CallNext, ServerRequestContext
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, CallToolRequestParams, RequestParams

__all__ = ["ForeignTasks", "foreign_server"]

Context = ServerRequestContext[Any, Any]
Shown = dict[str, Any]


class _TaskParams(RequestParams):
    task_id: str


class _UpdateParams(_TaskParams):
    input_responses: dict[str, Any]


@dataclass
class _Task:
    script: list[Shown]
    """What `tasks/get` answers, one after the other; the last one stays."""
    answers: dict[str, Any] = field(default_factory=dict)
    gets: int = 0
    is_cancelled: bool = False


def question(message: str, name: str) -> Shown:
    schema = {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def text(value: str, **more: Any) -> Shown:
    return {"status": "completed", "result": {"content": [{"type": "text", "text": value}], **more}}


WORKING = {"status": "working"}
SCRIPTS: dict[str, list[Shown]] = {
    "slow": [WORKING, WORKING, text("after a while", isError=False)],
    "at_once": [text("at once")],
    "tool_error": [WORKING, text("bad input", isError=True)],
    "protocol_error": [WORKING, {"status": "failed", "error": {"code": -32011, "message": "no quota"}}],
    "dropped": [WORKING],
    "endless": [WORKING],
}


class ForeignTasks(Extension):
    """Makes every call a task."""

    identifier = "io.modelcontextprotocol/tasks"

    def __init__(self) -> None:
        self.tasks: dict[str, _Task] = {}

    def methods(self) -> Sequence[MethodBinding]:
        return [
            MethodBinding("tasks/get", _TaskParams, self._get),
            MethodBinding("tasks/update", _UpdateParams, self._update),
            MethodBinding("tasks/cancel", _TaskParams, self._cancel),
        ]

    async def intercept_tool_call(self, params: CallToolRequestParams, ctx: Context, call_next: CallNext) -> Shown:
        task_id = f"{params.name}-{len(self.tasks)}"
        self.tasks[task_id] = _Task(SCRIPTS.get(params.name, []))
        return {"resultType": "task", **self._common(task_id, "working")}

    async def _get(self, ctx: Context, params: _TaskParams) -> Shown:
        task = self._known(params.task_id)
        task.gets += 1
        if params.task_id.startswith("dropped") and task.gets > 1:
            raise MCPError(INVALID_PARAMS, "Task not found")
        if params.task_id.startswith("ask"):
            shown = self._asking(task)
        else:
            shown = task.script[min(task.gets, len(task.script)) - 1]
        if task.is_cancelled:
            shown = {"status": "cancelled"}
        return {"resultType": "complete", **self._common(params.task_id, shown["status"]), **shown}

    def _asking(self, task: _Task) -> Shown:
        open_questions = {key: question(f"Your {key}?", key) for key in ("name", "colour") if key not in task.answers}
        if open_questions:
            return {"status": "input_required", "inputRequests": open_questions}
        return text(" ".join(task.answers[key]["content"][key] for key in ("name", "colour")))

    async def _update(self, ctx: Context, params: _UpdateParams) -> Shown:
        self._known(params.task_id).answers.update(params.input_responses)
        return {"resultType": "complete"}

    async def _cancel(self, ctx: Context, params: _TaskParams) -> Shown:
        self._known(params.task_id).is_cancelled = True
        return {"resultType": "complete"}

    def _known(self, task_id: str) -> _Task:
        if task_id not in self.tasks:
            raise MCPError(INVALID_PARAMS, "Task not found")
        return self.tasks[task_id]

    def _common(self, task_id: str, status: str) -> Shown:
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        return {
            "taskId": task_id,
            "status": status,
            "createdAt": now,
            "lastUpdatedAt": now,
            "ttlMs": None,
            "pollIntervalMs": 20,
        }


def foreign_server() -> tuple[MCPServer[Any], ForeignTasks]:
    tasks = ForeignTasks()
    server: MCPServer[Any] = MCPServer("foreign", extensions=[tasks])

    async def never() -> str:
        raise AssertionError("every call becomes a task before it gets here")

    for name in (*SCRIPTS, "ask"):
        server.add_tool(never, name=name, description="A task", structured_output=False)
    return server, tasks
