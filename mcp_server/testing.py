"""`run_task`: a task function run to its end in a test, without a server.

    from mcp_server.testing import run_task

    async def test_split():
        run = await run_task(split, {"text": "abcdef", "size": 4})
        assert run.result == ["abcd", "ef"]

The engine is the one of the server, on a file that is gone afterwards: arguments are validated,
events stored, questions put and checked, and the result is made JSON, all as in earnest.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import anyio
from pydantic import BaseModel

from client_sdk import wire

from .access.principal import ANONYMOUS
from .backends import open_backend
from .engine import Engine
from .errors import TaskError
from .jsonable import to_jsonable
from .questions import as_response
from .registry import Registry, TaskOptions, TaskType
from .settings import Settings
from .task import Event, Status, Task
from .views import frames

__all__ = ["TaskRun", "UnansweredQuestion", "run_task"]


class UnansweredQuestion(AssertionError):
    """The function asked something that the test gave no answer to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """The course of a task, to its end."""

    status: wire.TaskStatus
    events: Sequence[wire.StreamEvent]
    """As a stream would have sent them, `progress`, `output`, `input_required` and `done` or `error` among them."""
    checkpoint: Any
    """The last that was stored; None without one."""
    questions: Mapping[str, Mapping[str, Any]]
    """Each question that was asked, by its key: `message` and `requestedSchema`."""
    error: Mapping[str, Any] | None
    """`error_code`, `message` and `details` of a failure."""
    output: Any
    """The result of the function, as JSON data; None without one."""

    @property
    def result(self) -> Any:
        """`output`, for a task that has one.

        Raises:
            TaskError: it failed or was cancelled; with the code and details that callers see.
        """
        if self.error is not None:
            raise TaskError(self.error["message"], code=self.error["error_code"], details=self.error["details"])
        if self.status is not wire.TaskStatus.COMPLETED:
            raise TaskError(f"The task was {self.status}", code="TASK_CANCELLED")
        return self.output

    def emitted(self, topic: str | None = None) -> list[Any]:
        """The data of what the function emitted under a topic; without one, of all of it."""
        outputs = [event.data for event in self.events if event.event == "output"]
        return [output["data"] for output in outputs if topic is None or output["topic"] == topic]


async def run_task(
    function: Callable[..., Any],
    arguments: Mapping[str, Any] | None = None,
    *,
    answers: Mapping[str, Any] | None = None,
    checkpoint: Any = None,
    metadata: Mapping[str, Any] | None = None,
    patience: float = 60.0,
    **options: Unpack[TaskOptions],
) -> TaskRun:
    """Run a task function to its end, under asyncio.

    Args:
        function: the function itself; a decorator such as `@server.task` leaves it as it is.
        arguments: what a caller would give, JSON or Python values.
        answers: by the key of a question, `q1`, `q2`… for those without one: the fields that are asked for (a
            mapping or a pydantic model), the bare value if it is one field, or `"decline"` or `"cancel"`.
        checkpoint: `task.state` at the first attempt, as if an earlier one had stored it.
        metadata: `task.metadata`.
        patience: seconds after which the test has failed.
        options: those of `@server.task`, for a test of its `retries` or `timeout`, or of `process=True`.

    Raises:
        InvalidArgument: the arguments or an answer do not fit.
        UnansweredQuestion: `answers` has none for a question.
        TimeoutError: it took too long.
    """
    registry = Registry()
    task_type = TaskType.from_function(function, **options)
    registry.add(task_type)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(backend=f"sqlite:///{Path(folder) / 'tasks.db'}", durability="normal", cancel_grace=1.0)
        engine = Engine(registry, open_backend(settings), settings)
        with anyio.fail_after(patience):
            async with engine.run():
                given = to_jsonable(dict(arguments or {}), "arguments", settings.max_argument_bytes)
                task_type.bind(given)
                task = await _started(engine, task_type.name, given, checkpoint, metadata or {})
                return await _followed(engine, task, answers or {})


async def _started(
    engine: Engine, name: str, arguments: Mapping[str, Any], checkpoint: Any, metadata: Mapping[str, Any]
) -> Task:
    now = time.time()
    task = Task(
        id=uuid.uuid4().hex,
        type=name,
        arguments=arguments,
        metadata=metadata,
        created_at=now,
        updated_at=now,
        state=checkpoint,
        has_state=checkpoint is not None,
    )
    return await engine.backend.create(task, [Event.first_of(task)])


async def _followed(engine: Engine, task: Task, answers: Mapping[str, Any]) -> TaskRun:
    questions: dict[str, Mapping[str, Any]] = {}
    while not task.is_over:
        task = await engine.wait(task, 3600)
        if not task.is_over:
            questions |= {key: request["params"] for key, request in task.input_requests.items()}
            responses = {key: _response(key, request, answers) for key, request in task.input_requests.items()}
            task, _ = await engine.answer(task.id, responses, principal=ANONYMOUS)
    log = await engine.open(task.id, principal=ANONYMOUS)
    events: list[Event] = []
    while page := await log.read(events[-1].number if events else 0, 500):
        events += page
    return TaskRun(
        status=wire.TaskStatus(task.status),
        events=[frame.as_wire() for frame in frames(task, events)],
        checkpoint=task.state,
        questions=questions,
        error=task.error,
        output=task.output if task.status is Status.COMPLETED else None,
    )


def _response(key: str, request: Mapping[str, Any], answers: Mapping[str, Any]) -> Any:
    if key not in answers:
        message = request["params"]["message"]
        raise UnansweredQuestion(f"the task asked {message!r}; give run_task an answer: answers={{{key!r}: …}}")
    given = answers[key]
    return as_response(request, given.model_dump(mode="json") if isinstance(given, BaseModel) else given)
