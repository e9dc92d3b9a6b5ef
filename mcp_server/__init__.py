"""Durable long-running tasks over MCP. Start with `LongTaskServer`."""

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
    "TasksExtension",
    "open_backend",
]

_ON_DEMAND = {
    "Engine": ".engine",
    "LongTaskServer": ".app",
    "Policy": ".registry",
    "Registry": ".registry",
    "TasksExtension": ".mcp.extension",
    "open_backend": ".backends",
}


def __getattr__(name: str) -> Any:
    # The process of a task imports this package for the context it is given; the MCP SDK takes a second more.
    if name not in _ON_DEMAND:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ON_DEMAND[name], __name__), name)
