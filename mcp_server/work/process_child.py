"""Runs a task function in a process of its own: the side of the process (`process.py` is the server's).

The first line on standard input says what to run; what the function reports goes out as
lines of JSON on what was standard output. Whatever the function prints goes to standard error. When
standard input ends, the server is gone and so is this process.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import json
import os
import queue
import signal
import sys
import threading
import traceback
from collections.abc import Mapping
from functools import partial
from typing import Any, BinaryIO

from ..channel import Request
from ..context import SyncTaskContext, TaskCancelled, TaskInfo
from ..errors import TaskError
from ..events import Happening
from ..jsonable import bounded_text, to_jsonable
from ..registry import TaskType
from .pipe import as_json
from .raised import as_dict, told_by

__all__ = ["main"]

MAX_TRACEBACK_CHARS = 100_000
"""Characters of a traceback that the log gets: its end."""


class _Pipe:
    """The pipe to the server, for all threads of the function. Implements `channel.SyncChannel`."""

    def __init__(self, source: BinaryIO, target: BinaryIO, max_bytes: int) -> None:
        self._source, self._target, self.max_bytes = source, target, max_bytes
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._asking: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        """By number: the threads that wait for a reply."""
        self._stopped = False
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self._source:
            message = json.loads(line)
            if "stop" in message:
                self._stopped = True
                for asking in list(self._asking.values()):
                    asking.put({})
            else:
                self._asking[message["to"]].put(message)
        _end_all()

    def say(self, **message: Any) -> None:
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            self._target.write(line)
            self._target.flush()

    def tell(self, happening: Happening, size: int) -> None:
        # A full pipe holds the writer up, so what waits is bounded here as well.
        if self._stopped:
            raise TaskCancelled
        self.say(do="tell", **as_json(happening))

    def request(self, request: Request, size: int) -> Any:
        number = next(self._numbers)
        replies = self._asking[number] = queue.SimpleQueue()
        # Entered before the look: a stop either is seen here or finds the queue there.
        if not self._stopped:
            self.say(do="request", **as_json(request), number=number)
            reply = replies.get()
        if self._stopped:
            raise TaskCancelled
        del self._asking[number]
        if "error" in reply:
            raise TaskError(**reply["error"])
        return reply["reply"]


def _end_all() -> None:
    """The server is gone: end this process and those it started."""
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def main() -> None:
    # A service manager signals every process of the service; whether a task stops is the server's to say.
    signal.signal(signal.SIGTERM, lambda *_: None)
    if sys.platform != "win32":
        # What the function forks is ended by signals as usual.
        os.register_at_fork(after_in_child=partial(signal.signal, signal.SIGTERM, signal.SIG_DFL))
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    # Neither the function nor a program it starts reads what is said to us, or writes between our lines.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    order = json.loads(source.readline())
    pipe = _Pipe(source, target, order["max_bytes"])
    try:
        pipe.say(**_run(order, pipe))
    except TaskCancelled:
        pipe.say(do="stopped")
    except BaseException as error:
        if (told := told_by(error, order["max_bytes"])) is not None:
            pipe.say(do="fail", **as_dict(told))
        else:
            pipe.say(do="crash", traceback=traceback.format_exc()[-MAX_TRACEBACK_CHARS:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _run(order: Mapping[str, Any], pipe: _Pipe) -> dict[str, Any]:
    sys.path[:], sys.argv[:] = order["path"], order["argv"]
    function: Any = _module(order["module"], order["file"])
    for name in order["function"].split("."):
        if name == "<locals>":
            raise TaskError(
                f"{order['function']} cannot run in a process: define it at the top level of its module", retry=False
            )
        function = getattr(function, name)
    task_type = TaskType.from_function(function, name=order["type"], process=True)
    context = SyncTaskContext(pipe, TaskInfo(**order["info"]))
    arguments = task_type.bind(order["arguments"])
    if task_type.context_parameter is not None:
        arguments[task_type.context_parameter] = context
    limit = order["max_bytes"]
    value = to_jsonable(function(**arguments), "result", limit)
    summary = None if context.summary is None else bounded_text(context.summary, "summary", limit)
    return {"do": "return", "value": value, "summary": summary}


def _module(name: str, file: str | None) -> Any:
    if name != "__main__" or file is None:
        return importlib.import_module(name)
    # A script: load it under another name, so that its `if __name__ == "__main__"` stays asleep.
    spec = importlib.util.spec_from_file_location("__task_main__", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
