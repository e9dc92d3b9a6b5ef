"""Results that are too long for a model to read at once: in pages, and whole as an MCP resource.

A bare request is a program's and gets everything; an MCP client is taken for an
agent's host, whose answers should stay short.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError

from client_sdk import wire

from ..engine import Engine
from ..errors import NotFound
from ..jsonable import to_text
from ..task import Status, Task
from .caller import Caller

__all__ = ["RESULT_URI", "is_too_long", "part_of", "result_reader"]

RESULT_URI = "longtask://{operation_id}/result"


def is_too_long(task: Task, caller: Caller, budget: int) -> bool:
    """Whether this caller gets the task's output in pages of `budget` characters."""
    return not caller.is_bare and task.output is not None and len(_text(task)) > budget


def part_of(task: Task, offset: int, limit: int) -> tuple[str, wire.Page]:
    """The characters of the output from `offset` on, at most `limit`, and which they are."""
    text = _text(task)
    end = offset + limit
    return text[offset:end], wire.Page(
        offset=offset,
        total_characters=len(text),
        next_offset=end if end < len(text) else None,
        resource=RESULT_URI.format(operation_id=task.id),
    )


def result_reader(engine: Engine) -> Any:
    """The function behind the resource."""

    async def result(operation_id: str, ctx: Context) -> str:
        """The whole result of a completed task: its text, or its JSON."""
        try:
            task = await engine.get(operation_id, principal=Caller.of(ctx).principal)
        except NotFound as error:
            raise ResourceNotFoundError(error.message) from None
        if task.status is not Status.COMPLETED:
            raise ResourceError(f"The task is {task.status}; only a completed task has a result")
        return _text(task)

    return result


def _text(task: Task) -> str:
    return task.output if isinstance(task.output, str) else to_text(task.output)
