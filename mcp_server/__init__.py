"""Durable long-running tasks over MCP. Start with `LongTaskServer`."""

from .app import LongTaskServer
from .backends import open_backend
from .context import InputDeclined, Stage, SyncStage, SyncTaskContext, TaskCancelled, TaskContext
from .engine import Engine
from .errors import ConfigurationError, LongTaskError, TaskError
from .mcp.extension import TasksExtension
from .registry import Policy, Registry
from .settings import Settings

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
