"""Durable long-running tasks over MCP. Start with `LongTaskServer`."""

from .app import LongTaskServer
from .context import InputDeclined, Stage, SyncStage, SyncTaskContext, TaskCancelled, TaskContext
from .engine import Engine
from .errors import ConfigurationError, LongTaskError, TaskError
from .registry import Policy
from .settings import Settings

__all__ = [
    "ConfigurationError",
    "Engine",
    "InputDeclined",
    "LongTaskError",
    "LongTaskServer",
    "Policy",
    "Settings",
    "Stage",
    "SyncStage",
    "SyncTaskContext",
    "TaskCancelled",
    "TaskContext",
    "TaskError",
]
