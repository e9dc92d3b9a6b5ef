"""Decides how long a request is held open, and holds it.

A hold ends when the task ends or asks something, or when its time is up; that is no
error and cancels nothing, and neither does a caller that hangs up. During a hold the
caller's progress token is served and, where the client offers it, the task's questions
are put to its user.

`HOSTS` is the table of the agent hosts we know; `docs/mcp-clients.md` shows it and a
test compares the two. Values are cut to what is allowed, never refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import anyio
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from client_sdk import wire

from ..background import background_tasks
from ..engine import Engine
from ..errors import CallerError, InvalidArgument
from ..settings import host_rows
from ..task import Task
from .advice import status_line
from .caller import AnyContext, Caller, request_of

__all__ = ["HOSTS", "Hold", "HostWait", "ProgressNotifier", "Purpose", "Waiter"]


class HostWait(NamedTuple):
    """Seconds a request of a host is held, by whether the request has a progress token."""

    plain: float
    with_token: float


SHORT, LONG = 45.0, 110.0
"""Seconds for hosts that give a call 60 s and 300 s: both leave room for the answer."""

UNKNOWN_HOST = HostWait(25.0, LONG)
"""For callers that are not in the table; no client gives up earlier than 30 s."""

HOSTS: Mapping[str, HostWait] = {
    "antigravity-client": HostWait(SHORT, LONG),
    "chatgpt": HostWait(SHORT, LONG),
    "claude-ai": HostWait(SHORT, LONG),
    # Silence is borne for 300 s and ended by progress, but after 120 s its interactive mode leaves a call.
    "claude-code": HostWait(SHORT, LONG),
    "cline": HostWait(SHORT, LONG),
    # 300 s, which progress does not extend.
    "codex": HostWait(SHORT, 280.0),
    "codex-mcp-client": HostWait(SHORT, 280.0),
    "cursor-vscode": HostWait(SHORT, LONG),
    "github-copilot-developer": HostWait(SHORT, LONG),
    "kilo-code": HostWait(SHORT, LONG),
    # 60 s, which each notification of progress extends.
    "opencode": HostWait(SHORT, 570.0),
    "roo-code": HostWait(SHORT, LONG),
    "windsurf": HostWait(SHORT, LONG),
    "windsurf-client": HostWait(SHORT, LONG),
    "zed": HostWait(SHORT, LONG),
    # 600 s, which progress does not extend.
    "gemini-cli-mcp-client": HostWait(LONG, 570.0),
    "goose": HostWait(LONG, LONG),
    "visual-studio-code": HostWait(LONG, LONG),
}
"""The hosts we know, by `clientInfo.name` in lower case with hyphens; those with a comment were measured."""

NOTIFY_INTERVAL = 9.0
"""Seconds of silence after which a progress notification is sent in any case: at least one every 10 s arrives."""
NOTIFY_PAUSE = 1.0
"""Seconds between two progress notifications, however fast the task reports."""
SMALLEST_STEP = 0.001
"""Added to the progress of a task that has not moved: MCP wants each value above the one before."""

Purpose = Literal["start", "follow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """The seconds a request is held at most, and the reason."""

    seconds: float
    reason: str
    asked: float | None = None

    def as_wire(self) -> wire.Waited:
        return wire.Waited(
            seconds=None if math.isinf(self.seconds) else self.seconds, asked=self.asked, reason=self.reason
        )


class ProgressNotifier:
    """Progress notifications of one held request, whose caller gave a progress token.

    At least one every 10 s, so that hosts that reset their timeout on progress do not give up; sooner
    when the task moved, at most one per second.
    """

    def __init__(self, request: ServerRequestContext[Any, Any]) -> None:
        self._request = request
        self._sent_at = anyio.current_time()
        self._sent, self._version = -1.0, -1

    @property
    def may_send(self) -> bool:
        """Whether the pause after the last notification is over."""
        return anyio.current_time() - self._sent_at >= NOTIFY_PAUSE

    def delay(self) -> float:
        """Seconds until the pause, or else the silence, has lasted long enough."""
        since = anyio.current_time() - self._sent_at
        return max(0.01, (NOTIFY_INTERVAL if self.may_send else NOTIFY_PAUSE) - since)

    async def repeat(self, state: Callable[[], tuple[float, int, str]]) -> None:
        """Send notifications until cancelled; `state` gives the arguments of `notify`."""
        while True:
            await anyio.sleep(self.delay())
            await self.notify(*state())

    async def notify(self, progress: float, version: int, line: str) -> None:
        """Send a notification if one is due.

        Args:
            progress: 0 to 100.
            version: a number that differs from the last one sent when there is news.
        """
        since = anyio.current_time() - self._sent_at
        if since < NOTIFY_PAUSE or (since < NOTIFY_INTERVAL and version == self._version):
            return
        self._sent = max(progress, self._sent + SMALLEST_STEP)
        self._sent_at, self._version = anyio.current_time(), version
        await self._request.session.report_progress(self._sent, 100.0, line)


class Waiter:
    """Decides on holds and carries them out, for one engine.

    One per server: it knows which questions are being put to a user, so that two held calls
    do not put the same one twice.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._being_asked: set[tuple[str, str]] = set()

    def suggested_wait(self, caller: Caller) -> float:
        """The `wait_seconds` that suits this caller's next request."""
        row = self._row(caller) or UNKNOWN_HOST
        return self._cut(row.with_token if caller.has_token else row.plain)

    def decide(self, caller: Caller, asked: float | None, purpose: Purpose) -> Hold:
        """The hold for this request."""
        row = self._row(caller)
        if asked is not None:
            # No longer than its host bears, whatever the model asks for.
            limit = self._cut(max(LONG, *row)) if row else self._engine.settings.max_wait
            seconds = min(self._cut(asked), limit)
            reason = "as asked" if seconds == asked else f"cut to what is allowed here (0 to {limit:g} s)"
            return Hold(seconds=seconds, reason=reason, asked=asked if math.isfinite(asked) else None)
        if caller.declares_tasks:
            return Hold(seconds=0.0, reason="the client follows tasks by itself (tasks extension)")
        if purpose == "start" and (row or caller.has_token):
            grace = self._cut(self._engine.settings.start_grace)
            return Hold(seconds=grace, reason="a short grace, so that a short task answers with its result")
        if caller.has_token:
            seconds = self._cut((row or UNKNOWN_HOST).with_token)
            return Hold(seconds=seconds, reason="the caller gets progress notifications meanwhile")
        if row:
            return Hold(seconds=self._cut(row.plain), reason=f"what {caller.name} waits for one call")
        kind = "a bare request" if caller.is_bare else "a client that is not in the table of known hosts"
        return Hold(seconds=0.0, reason=f"wait_seconds was not given, by {kind}")

    async def wait(self, ctx: AnyContext, task: Task, hold: Hold, *, any_event: bool = False) -> Task:
        """The task after the hold, serving the caller meanwhile. See `Engine.wait`."""
        if hold.seconds <= 0:
            return task
        request, caller = request_of(ctx), Caller.of(ctx)
        asks = caller.answers_forms and caller.reachable
        skipped: set[str] = set()
        notifier = ProgressNotifier(request) if caller.has_token else None
        deadline = anyio.current_time() + hold.seconds
        while not task.is_over and (left := deadline - anyio.current_time()) > 0:
            open_keys = [key for key in task.input_requests if key not in skipped]
            if task.input_requests and not any_event:
                if not (asks and open_keys):
                    break
                skipped.add(open_keys[0])
                task = await self._ask(request, task, open_keys[0], notifier)
                continue
            seen = task.last_event_id
            if notifier is None:
                task = await self._engine.wait(task, left, any_event=any_event)
            else:
                delay = min(left, notifier.delay())
                task = await self._engine.wait(task, delay, any_event=any_event or notifier.may_send)
                await notifier.notify(task.progress, task.last_event_id, status_line(task))
            if any_event and task.last_event_id > seen:
                break
        return task

    async def wait_for_several(self, ctx: AnyContext, tasks: Sequence[Task], hold: Hold, *, first: bool) -> list[Task]:
        """The tasks after a hold for all of them, or for the `first` one, to end or to ask something."""
        held = {task.id: task for task in tasks}
        request, caller = request_of(ctx), Caller.of(ctx)

        def done() -> bool:
            settled = [task.is_over or bool(task.input_requests) for task in held.values()]
            return any(settled) if first else all(settled)

        async def follow(task: Task) -> None:
            try:
                held[task.id] = await self._engine.wait(task, hold.seconds)
                ended = done()
            except CallerError:
                ended = True  # the last look, below, says it
            if ended:
                waiting.cancel_scope.cancel()

        def state() -> tuple[float, int, str]:
            ended = sum(task.is_over for task in held.values())
            return 100.0 * ended / len(held), ended, f"{ended} of {len(held)} tasks have ended"

        if not done() and hold.seconds > 0:
            with anyio.move_on_after(hold.seconds):
                async with anyio.create_task_group() as waiting:
                    for task in tasks:
                        waiting.start_soon(follow, task)
                    if caller.has_token:
                        waiting.start_soon(ProgressNotifier(request).repeat, state)
        return [await self._engine.get(task.id, principal=caller.principal) for task in tasks]

    async def _ask(
        self, request: ServerRequestContext[Any, Any], task: Task, key: str, notifier: ProgressNotifier | None
    ) -> Task:
        """Put one question to the client's user, and record the answer. The task's own clock stands still meanwhile."""
        if (task.id, key) in self._being_asked:
            return task
        self._being_asked.add((task.id, key))
        try:
            async with background_tasks() as meanwhile:
                if notifier is not None:
                    state = task.progress, task.last_event_id, status_line(task)
                    meanwhile.start_soon(notifier.repeat, lambda: state)
                return await self._elicit(request, task, key)
        finally:
            self._being_asked.discard((task.id, key))

    async def _elicit(self, request: ServerRequestContext[Any, Any], task: Task, key: str) -> Task:
        params, principal = task.input_requests[key]["params"], Caller.of(request).principal
        try:
            with anyio.move_on_after(self._engine.settings.max_wait):
                answer = await request.session.elicit_form(
                    params["message"], params["requestedSchema"], related_request_id=request.request_id
                )
                if answer.action != "cancel":  # dismissed is not answered: another client may still do it
                    response = answer.model_dump(mode="json", include={"action", "content"}, exclude_none=True)
                    task, _ = await self._engine.answer(task.id, {key: response}, principal=principal)
        except (MCPError, ValidationError, InvalidArgument):
            pass  # the question stays open for `respond_to_task`
        return task

    def _row(self, caller: Caller) -> HostWait | None:
        """The caller's row of the table; an operator's own row wins, and holds with and without a token."""
        if caller.name is None:
            return None
        # A proxy adds itself to the name of the host behind it.
        name = caller.name.split(" (via ")[0].strip().lower().replace(" ", "-")
        own = host_rows(self._engine.settings.host_waits).get(name)
        return HOSTS.get(name) if own is None else HostWait(own, own)

    def _cut(self, seconds: float) -> float:
        return min(max(seconds, 0.0), self._engine.settings.max_wait) if not math.isnan(seconds) else 0.0
