"""Durable long-running tasks over MCP. Start with `LongTaskServer`.

The house, in the order to read it:

    task.py      statuses, kinds of event, the table that joins them, and the `Task`
    events.py    one class for each kind of event, and `advance`, the one fold of a log into a `Task`
    errors.py    every error, by what the caller does next
    backend.py   the seam: what a store of logs promises
    registry.py  task types: a function's arguments, description and policy
    context.py   the running task, as its function sees it; channel.py is its way to the log
    engine.py    all rules, once: start, cancel, answer, retry, list, execute; log.py is what it opens
    app.py       `LongTaskServer` puts the parts together; hosting.py runs it under uvicorn

    access/      who may do what: the principal of a request
    work/        one attempt of one task, from the claim to its last event
    backends/    where tasks are kept: sqlite/, redis/
    mcp/         tools, the tasks extension, the endpoint for every kind of client
    web/         progress streams, snapshots, health
    cli/         the `longtasks` command

Small things: settings.py, jsonable.py, questions.py, views.py, meter.py, background.py; testing.py runs a task
function in an author's tests.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .context import InputDeclined, Stage, SyncStage, SyncTaskContext, TaskCancelled, TaskContext
from .errors import ConfigurationError, LongTaskError, TaskError
from .settings import Settings

if TYPE_CHECKING:
    from .app import LongTaskServer
    from .backends import open_backend
    from .engine import Engine
    from .mcp.extension import TasksExtension
    from .registry import Policy, Registry
    from .web.tasks import Tasks

__all__ = [
    "ConfigurationError",
    "Engine",
    "InputDeclined",
    "LongTaskError",
    "LongTaskServer",
    "Policy",
    "Registry",
    "Settings",
    "Stage",
    "SyncStage",
    "SyncTaskContext",
    "TaskCancelled",
    "TaskContext",
    "TaskError",
    "Tasks",
    "TasksExtension",
    "open_backend",
]

_ON_DEMAND = {
    "Engine": ".engine",
    "LongTaskServer": ".app",
    "Policy": ".registry",
    "Registry": ".registry",
    "Tasks": ".web.tasks",
    "TasksExtension": ".mcp.extension",
    "open_backend": ".backends",
}


def __getattr__(name: str) -> Any:
    # The process of a task imports this package for the context it is given; the MCP SDK takes a second more.
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ON_DEMAND[name], __name__), name)
