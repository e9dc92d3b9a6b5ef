"""The commands of a fleet: `worker` runs tasks of a shared backend without HTTP, `workers` shows who does.

Both talk to the backend itself, so they need no server that answers.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from .._version import package_version
from ..settings import Settings
from .output import age, duration, json_line, table, tell

if TYPE_CHECKING:
    from client_sdk import wire

    from ..app import LongTaskServer

__all__ = ["fleet_commands", "work"]

DRAIN_GRACE = 30.0
"""Seconds running tasks get to finish when a worker is told to stop: no successor waits for its port."""

AppArgument = Annotated[
    str | None, typer.Argument(metavar="[APP]", help="The application: reports.py, package.module, module:server")
]
AppOption = Annotated[str | None, typer.Option("--app", help="The same as APP")]

fleet_commands = typer.Typer()


def one_app(argument: str | None, option: str | None) -> str | None:
    """The application, from either way to name it."""
    if argument is not None and option is not None and argument != option:
        raise typer.BadParameter(f"the application is named twice: {argument!r} and --app {option!r}")
    return argument or option


@fleet_commands.command()
def worker(
    application: AppArgument = None,
    app: AppOption = None,
    backend: Annotated[str | None, typer.Option(help="redis://HOST:PORT/DB, the same as of the servers")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Tasks it runs at once")] = None,
    drain_grace: Annotated[
        float, typer.Option(envvar="LONGTASKS_DRAIN_GRACE", help="Seconds running tasks get to finish at SIGTERM")
    ] = DRAIN_GRACE,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error")] = None,
) -> None:
    """Run tasks, and nothing else, until SIGTERM: no new ones then, a grace for those that run."""
    from .app_loader import load_server, run_async

    flags = {"backend": backend, "concurrency": concurrency, "drain_grace": drain_grace, "log_level": log_level}
    server = load_server(one_app(application, app), **flags)
    run_async(lambda: work(server))


async def work(server: LongTaskServer) -> None:
    """Execute tasks until SIGINT or SIGTERM, then give them back with their last checkpoint.

    Says on standard error when it is ready.

    Raises:
        ConfigurationError: the backend cannot be opened.
    """
    from ..hosting import running

    settings = server.engine.settings
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with running(server):
            types = ", ".join(sorted(task_type.name for task_type in server.registry)) or "no task types"
            print(f"longtasks {package_version()} working on {types}", file=sys.stderr, flush=True)
            async for _ in signals:
                break
            grace = f"running tasks get {settings.drain_grace:g} s"
            print(f"longtasks: no new tasks; {grace}", file=sys.stderr, flush=True)


@fleet_commands.command()
def workers(
    backend: Annotated[str | None, typer.Option(help="redis://HOST:PORT/DB, the same as of the servers")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts")] = False,
) -> None:
    """Show the fleet: who is alive, what each runs, what waits and what has stalled."""
    from ..backends import open_backend
    from ..views import fleet
    from .app_loader import run_async

    opened = open_backend(Settings.load(backend=backend))

    async def show() -> None:
        async with opened:
            seen = fleet(await opened.fleet())
        if as_json:
            json_line(seen)
        else:
            _show(seen)

    run_async(show)


def _show(fleet: wire.Fleet) -> None:
    if fleet.workers is None:
        tell("The processes on a SQLite file do not announce themselves; this is their queue")
    elif fleet.workers:
        rows = [
            (
                worker.name, worker.host, str(worker.pid), f"{age(worker.seen_at)} ago", str(worker.slots),
                f"{worker.running}: {' '.join(worker.operations)}" if worker.operations else "0",
                " ".join(worker.task_types), worker.version,
            )
            for worker in fleet.workers
        ]  # fmt: skip
        headings = ("worker", "host", "pid", "seen", "slots", "running", "task types", "version")
        table(headings, rows, flexible="running", right=("pid", "seen", "slots"))
    else:
        tell("no workers")
    queue = fleet.queue
    waited = queue.oldest_waiting_seconds
    oldest = "" if waited is None else f", the oldest for {duration(waited)}"
    tell(f"{queue.due} waiting{oldest}; {queue.delayed} delayed; {fleet.claimed} claimed")
    if fleet.stalled.operations:
        tell(f"stalled: {' '.join(fleet.stalled.operations)}")
