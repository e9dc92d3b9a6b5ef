"""How long a request may be held, and the holding itself.

A held request ends when the task is over or asks something, or when its time is up;
that is no error and cancels nothing, and neither does the caller's going away. While it
is held, the caller's progress token is served and, where the client offers it, the
task's questions are put to its user.

`HOSTS` is the table of the agent hosts we know; `docs/mcp-clients.md` shows it and a
test compares the two. Values are cut to what is allowed, never refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from client_sdk import wire

from ..engine import Engine
from ..errors import CallerError, InvalidArgument
from ..settings import host_rows
from ..task import Task
from .advice import status_line
from .beat import Beat
from .caller import AnyContext, Caller, request_of

__all__ = ["HOSTS", "Applied", "Purpose", "Waiter"]

SHORT, LONG = 45.0, 110.0
"""Seconds for hosts that give a call 60 s and 300 s: both leave room for the answer."""

UNKNOWN_WORTH = 25.0
"""Seconds worth passing for a caller we know nothing of; nobody gives up earlier than 30 s."""

HOSTS: Mapping[str, float] = {
    "antigravity-client": SHORT,
    "chatgpt": SHORT,
    "claude-ai": SHORT,
    "claude-code": SHORT,
    "cline": SHORT,
    "codex": SHORT,
    "codex-mcp-client": SHORT,
    "cursor-vscode": SHORT,
    "github-copilot-developer": SHORT,
    "kilo-code": SHORT,
    "opencode": SHORT,
    "roo-code": SHORT,
    "windsurf": SHORT,
    "windsurf-client": SHORT,
    "zed": SHORT,
    "gemini-cli-mcp-client": LONG,
    "goose": LONG,
    "visual-studio-code": LONG,
}
"""Seconds a request of each host is held, by its `clientInfo.name` in lower case with hyphens."""

Purpose = Literal["start", "follow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How many seconds a request is held at most, and why so many."""

    seconds: float
    reason: str
    asked: float | None = None

    @property
    def shown(self) -> wire.Waited:
        return wire.Waited(
            seconds=None if math.isinf(self.seconds) else self.seconds, asked=self.asked, reason=self.reason
        )


class Waiter:
    """Decides on waits and carries them out, for one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._being_asked: set[tuple[str, str]] = set()

    def worth(self, caller: Caller) -> float:
        """The `wait_seconds` a caller had best pass next time."""
        if caller.has_token:
            return self._cut(LONG)
        return self._cut(self._host_wait(caller) or UNKNOWN_WORTH)

    def applied(self, caller: Caller, asked: float | None, purpose: Purpose) -> Applied:
        """How long this request is held, and why."""
        limit = self._engine.settings.max_wait
        if asked is not None:
            seconds = self._cut(asked)
            reason = "as asked" if seconds == asked else f"cut to what this server allows (0 to {limit:g} s)"
            return Applied(seconds=seconds, reason=reason, asked=asked if math.isfinite(asked) else None)
        if caller.declares_tasks:
            return Applied(seconds=0.0, reason="the client follows tasks by itself (tasks extension)")
        known = self._host_wait(caller)
        if purpose == "start" and (known or caller.has_token):
            grace = self._cut(self._engine.settings.start_grace)
            return Applied(seconds=grace, reason="a short grace, so that a short task answers with its result")
        if caller.has_token:
            return Applied(seconds=self._cut(LONG), reason="the caller gets progress notifications meanwhile")
        if known:
            return Applied(seconds=self._cut(known), reason=f"what {caller.name} waits for one call")
        who = "a bare request" if caller.is_bare else "a client that is not in the table of known hosts"
        return Applied(seconds=0.0, reason=f"wait_seconds was not given, by {who}")

    async def hold(self, ctx: AnyContext, task: Task, applied: Applied, *, any_event: bool = False) -> Task:
        """The task after the wait. See `Engine.wait`."""
        if applied.seconds <= 0:
            return task
        return await self.until(ctx, task, applied.seconds, any_event=any_event)

    async def until(self, ctx: AnyContext, task: Task, seconds: float, *, any_event: bool = False) -> Task:
        """Wait up to so many seconds (`math.inf`: as long as it takes), serving the caller meanwhile."""
        request, caller = request_of(ctx), Caller.of(ctx)
        asks = caller.answers_forms and caller.reachable
        skipped: set[str] = set()
        beat = Beat(request) if caller.has_token else None
        deadline = anyio.current_time() + seconds
        while not task.is_over and (left := deadline - anyio.current_time()) > 0:
            open_keys = [key for key in task.input_requests if key not in skipped]
            if task.input_requests and not any_event:
                if not (asks and open_keys):
                    break
                skipped.add(open_keys[0])
                task = await self._ask(request, task, open_keys[0])
                continue
            seen = task.last_event_id
            if beat is None:
                task = await self._engine.wait(task, left, any_event=any_event)
            else:
                task = await self._engine.wait(task, min(left, beat.due()), any_event=any_event or beat.rested)
                await beat.tell(task.progress, task.last_event_id, status_line(task))
            if any_event and task.last_event_id > seen:
                break
        return task

    async def until_several(
        self, ctx: AnyContext, tasks: Sequence[Task], applied: Applied, *, first: bool
    ) -> list[Task]:
        """The tasks after a wait for all of them, or for the `first` one, to end or to ask something."""
        held = {task.id: task for task in tasks}
        request, caller = request_of(ctx), Caller.of(ctx)

        def done() -> bool:
            settled = [task.is_over or bool(task.input_requests) for task in held.values()]
            return any(settled) if first else all(settled)

        async def follow(task: Task) -> None:
            try:
                held[task.id] = await self._engine.wait(task, applied.seconds)
                ended = done()
            except CallerError:
                ended = True  # the last look, below, says it
            if ended:
                waiting.cancel_scope.cancel()

        async def tell() -> None:
            beat = Beat(request)
            while True:
                await anyio.sleep(beat.due())
                over = sum(task.is_over for task in held.values())
                await beat.tell(100.0 * over / len(held), over, f"{over} of {len(held)} tasks are over")

        if not done() and applied.seconds > 0:
            with anyio.move_on_after(applied.seconds):
                async with anyio.create_task_group() as waiting:
                    for task in tasks:
                        waiting.start_soon(follow, task)
                    if caller.has_token:
                        waiting.start_soon(tell)
        return [await self._engine.get(task.id, principal=caller.principal) for task in tasks]

    async def _ask(self, request: ServerRequestContext[Any, Any], task: Task, key: str) -> Task:
        """Put one question to the client's user, and record the answer. The task's own clock stands still meanwhile."""
        if (task.id, key) in self._being_asked:
            return task
        self._being_asked.add((task.id, key))
        try:
            principal = Caller.of(request).principal
            params = task.input_requests[key]["params"]
            with anyio.move_on_after(self._engine.settings.max_wait):
                answer = await request.session.elicit_form(
                    params["message"], params["requestedSchema"], related_request_id=request.request_id
                )
                if answer.action != "cancel":  # dismissed is not answered: somebody else may
                    response = answer.model_dump(mode="json", include={"action", "content"}, exclude_none=True)
                    task, _ = await self._engine.answer(task.id, {key: response}, principal=principal)
        except (MCPError, ValidationError, InvalidArgument):
            return task  # the question stays open for `respond_to_task`
        finally:
            self._being_asked.discard((task.id, key))
        return task

    def _host_wait(self, caller: Caller) -> float | None:
        if caller.name is None:
            return None
        # A proxy adds itself to the name of the host behind it.
        name = caller.name.split(" (via ")[0].strip().lower().replace(" ", "-")
        return host_rows(self._engine.settings.host_waits).get(name, HOSTS.get(name))

    def _cut(self, seconds: float) -> float:
        return min(max(seconds, 0.0), self._engine.settings.max_wait) if not math.isnan(seconds) else 0.0
