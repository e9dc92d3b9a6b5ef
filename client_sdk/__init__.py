"""Start long tasks on a server, follow them, and get their results, from Python.

    from client_sdk import LongTaskClient

    async with LongTaskClient() as client:
        handle = await client.start("data_analysis", {"steps": 5})
        print(await handle.result())

`client_sdk.sync` has the same names for scripts without `async`, `client_sdk.mcp` brings
tasks to the official SDK's `mcp.Client`, `client_sdk.errors` and `client_sdk.wire` hold
all errors and all shapes, `client_sdk.tracking` the functions of an older document.
Nothing here imports the server.

    _client    starts tasks, finds them again        _stream   events over any number of connections
    _handle    one task: events, result, cancel      _poll     states by long polls
    _shared    state common to a client's handles    _connection, _backoff   requests and retries
    _journal   unfinished tasks in a file            _display  the bar, the notebook line, the plain lines
    _events    one class per kind of event
"""

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from ._handle import EventStream, TaskHandle, show
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
    "show",
]


_MODULES = {
    "._client": ("LongTaskClient",),
    "._events": (
        "DoneEvent",
        "ErrorEvent",
        "Event",
        "GapEvent",
        "InputRequiredEvent",
        "OtherEvent",
        "OutputEvent",
        "ProgressEvent",
        "StatusEvent",
    ),
    "._handle": (
        "EventStream",
        "TaskHandle",
        "show",
    ),
    ".errors": (
        "JournalUnreadable",
        "LimitExceeded",
        "LongTaskClientError",
        "NotFound",
        "NotReady",
        "Refused",
        "StreamLost",
        "TaskCancelled",
        "TaskEnded",
        "TaskFailed",
        "TryLater",
        "Unavailable",
    ),
}
_ON_DEMAND = {name: module for module, names in _MODULES.items() for name in names}
_MOVED = ("MCPClient", "poll_progress", "safe_stream", "start_and_stream", "stream_progress")


def __getattr__(name: str) -> Any:
    # On demand, so that the server, which needs `client_sdk.wire` alone, and `longtasks --version` load no HTTP client.
    if name in _ON_DEMAND:
        value = globals()[name] = getattr(import_module(_ON_DEMAND[name], __name__), name)
        return value
    if name in _MOVED:
        warnings.warn(
            f"client_sdk.{name} is client_sdk.tracking.{name} now, and leaves the front with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return getattr(import_module(f"{__name__}.tracking"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
