"""Runs a task function in a process of its own: the side of the process (`process.py` is the server's).

The first line on standard input is the order; reports of the function go out as lines of
JSON on what was standard output. Whatever the function prints goes to standard error. When
standard input ends, the server is gone and so is this process.
"""

from __future__ import annotations

import functools
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
from ..jsonable import bounded_text
from ..registry import TaskType
from .pipe import as_json
from .raised import as_dict, described, only, told_by
from .runners import call_plain

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
    """Run one function in this interpreter, which was started for it."""
    prepare_signals()
    source = os.fdopen(os.dup(0), "rb")
    target = os.fdopen(os.dup(1), "wb")
    # The lines are for this side only: the function and its programs neither read nor write between them.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    run(source, target)


def prepare_signals() -> None:
    # A service manager signals every process of the service; whether a task stops is the server's to say.
    signal.signal(signal.SIGTERM, lambda *_: None)


def run(source: BinaryIO, target: BinaryIO) -> None:
    """Run the function that the first line of `source` orders, and exit."""
    if sys.platform != "win32":
        # What the function forks is ended by signals as usual.
        os.register_at_fork(after_in_child=partial(signal.signal, signal.SIGTERM, signal.SIG_DFL))
    order = json.loads(source.readline())
    pipe = _Pipe(source, target, order["max_bytes"])
    limit = _Memory(order["memory"])
    try:
        pipe.say(**_called(order, pipe, limit))
    except TaskCancelled:
        pipe.say(do="stopped")
    except BaseException as error:
        limit.lift()
        raised = limit.exceeded() if limit.growth is not None and isinstance(error, MemoryError) else error
        if (told := told_by(raised, order["max_bytes"])) is not None:
            pipe.say(do="fail", **as_dict(told))
        else:
            pipe.say(
                do="crash", described=described(only(error)), traceback=traceback.format_exc()[-MAX_TRACEBACK_CHARS:]
            )
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _called(order: Mapping[str, Any], pipe: _Pipe, limit: _Memory) -> dict[str, Any]:
    os.environ.clear()
    os.environ.update(order["environ"])
    os.chdir(order["cwd"])
    task_type = load(**order["function"])
    context = SyncTaskContext(pipe, TaskInfo(**order["info"]))
    arguments = task_type.bind(order["arguments"])
    if task_type.context_parameter is not None:
        arguments[task_type.context_parameter] = context
    limit.apply()
    value = task_type.to_json(call_plain(task_type.function, arguments), pipe.max_bytes)
    limit.lift()
    summary = None if context.summary is None else bounded_text(context.summary, "summary", pipe.max_bytes)
    return {"do": "return", "value": value, "summary": summary}


class _Memory:
    """The limit on the address space of this process; on Windows there is none.

    Args:
        growth: bytes it may grow beyond its size when the function begins; None: no limit.
    """

    def __init__(self, growth: int | None) -> None:
        self.growth = growth

    def apply(self) -> None:
        if self.growth is not None and sys.platform != "win32":
            self._set(_address_space() + self.growth)

    def lift(self) -> None:
        """Make room for what has still to be said."""
        if self.growth is not None and sys.platform != "win32":
            self._set(None)

    def exceeded(self) -> TaskError:
        return TaskError(
            f"It needed more memory than the {self.growth} bytes it may use",
            code="OUT_OF_MEMORY",
            details={"memory": self.growth},
            retry=False,
        )

    @staticmethod
    def _set(soft: int | None) -> None:
        import resource

        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if soft is None or (hard != resource.RLIM_INFINITY and soft > hard):
            soft = hard
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _address_space() -> int:
    """Bytes of address space in use; 0 where the system does not say."""
    try:
        with open("/proc/self/statm") as found:
            return int(found.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def load(*, path: list[str], argv: list[str], module: str, file: str | None, function: str, type: str) -> TaskType:
    """The task type of a function that is found again by its module and name; kept, so that a fork has it at once."""
    sys.path[:], sys.argv[:] = path, argv
    return _load(module, file, function, type)


@functools.cache
def _load(module: str, file: str | None, function: str, type: str) -> TaskType:
    found: Any = _module(module, file)
    for name in function.split("."):
        if name == "<locals>":
            raise TaskError(
                f"{function} cannot run in a process: define it at the top level of its module", retry=False
            )
        found = getattr(found, name)
    return TaskType.from_function(found, name=type, process=True)


@functools.cache
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
