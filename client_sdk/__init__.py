"""Start long tasks on a server, follow them, and get their results, from Python.

    from client_sdk import LongTaskClient

    async with LongTaskClient() as client:
        handle = await client.start("data_analysis", {"steps": 5})
        print(await handle.result())

`client_sdk.sync` has the same names for scripts without `async`, `client_sdk.mcp` brings
tasks to the official SDK's `mcp.Client`, `client_sdk.errors` and `client_sdk.wire` hold
all errors and all shapes. Nothing here imports the server.
"""

from typing import TYPE_CHECKING, Any

from ._client import LongTaskClient
from ._events import (
    DoneEvent,
    ErrorEvent,
    Event,
    GapEvent,
    InputRequiredEvent,
    OtherEvent,
    OutputEvent,
    ProgressEvent,
    StatusEvent,
)
from ._handle import EventStream, TaskHandle
from ._tracking import MCPClient, poll_progress, safe_stream, start_and_stream, stream_progress
from .errors import (
    JournalUnreadable,
    LimitExceeded,
    LongTaskClientError,
    NotFound,
    NotReady,
    Refused,
    StreamLost,
    TaskCancelled,
    TaskEnded,
    TaskFailed,
    TryLater,
    Unavailable,
)

if TYPE_CHECKING:
    from ._show import show

__all__ = [
    "DoneEvent",
    "ErrorEvent",
    "Event",
    "EventStream",
    "GapEvent",
    "InputRequiredEvent",
    "JournalUnreadable",
    "LimitExceeded",
    "LongTaskClient",
    "LongTaskClientError",
    "MCPClient",
    "NotFound",
    "NotReady",
    "OtherEvent",
    "OutputEvent",
    "ProgressEvent",
    "Refused",
    "StatusEvent",
    "StreamLost",
    "TaskCancelled",
    "TaskEnded",
    "TaskFailed",
    "TaskHandle",
    "TryLater",
    "Unavailable",
    "poll_progress",
    "safe_stream",
    "show",
    "start_and_stream",
    "stream_progress",
]


def __getattr__(name: str) -> Any:
    if name == "show":
        from ._show import show  # loaded when asked for: rich takes long, and most scripts show nothing

        return show
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
