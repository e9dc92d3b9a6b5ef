"""The commands of a fleet: `worker` runs tasks of a shared backend without HTTP, `workers` shows who does.

Both talk to the backend itself, so they need no server that answers.
"""

from __future__ import annotations

import signal
import sys
from typing import Annotated

import anyio
import typer
from rich.console import Console
from rich.table import Table

from client_sdk import wire

from .._version import package_version
from ..app import LongTaskServer
from ..backends import open_backend
from ..errors import ConfigurationError
from ..hosting import running
from ..settings import Settings
from ..views import fleet
from .app_loader import load_server, run_async

__all__ = ["fleet_commands", "work"]

DRAIN_GRACE = 30.0
"""Seconds running tasks get to finish when a worker is told to stop: no successor waits for its port."""

fleet_commands = typer.Typer()
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


@fleet_commands.command()
def worker(
    app: Annotated[str | None, typer.Option("--app", help="The application, as module:attribute")] = None,
    backend: Annotated[str | None, typer.Option(help="redis://HOST:PORT/DB, the same as of the servers")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Tasks it runs at once")] = None,
    drain_grace: Annotated[
        float, typer.Option(envvar="LONGTASKS_DRAIN_GRACE", help="Seconds running tasks get to finish at SIGTERM")
    ] = DRAIN_GRACE,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error")] = None,
) -> None:
    """Run tasks, and nothing else, until SIGTERM: no new ones then, a grace for those that run."""
    flags = {"backend": backend, "concurrency": concurrency, "drain_grace": drain_grace, "log_level": log_level}
    server = load_server(app, **flags)
    run_async(lambda: work(server))


async def work(server: LongTaskServer) -> None:
    """Execute tasks until SIGINT or SIGTERM, then give them back with their last checkpoint.

    Says on standard error when it is ready.

    Raises:
        ConfigurationError: the backend cannot be opened.
    """
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
    opened = open_backend(Settings.load(backend=backend))
    if opened.name == "sqlite":
        raise ConfigurationError(
            "the processes on a SQLite file do not know each other; --backend redis://… has a fleet"
        )

    async def show() -> None:
        async with opened:
            seen = fleet(await opened.fleet())
        if as_json:
            print(seen.model_dump_json(indent=2))
        else:
            _show(seen)

    run_async(show)


def _show(fleet: wire.Fleet) -> None:
    table = Table("worker", "host", "pid", "version", "slots", "running", "task types", box=None)
    for seen in fleet.workers or ():
        running = f"{seen.running}: {' '.join(seen.operations)}" if seen.operations else "0"
        row = [seen.name, seen.host, str(seen.pid), seen.version, str(seen.slots), running, " ".join(seen.task_types)]
        table.add_row(*row)
    out.print(table if fleet.workers else "no workers")
    queue = fleet.queue
    waited = "" if queue.oldest_waiting_seconds is None else f", the oldest for {queue.oldest_waiting_seconds:.1f} s"
    out.print(f"{queue.due} waiting{waited}; {queue.delayed} delayed; {fleet.claimed} claimed")
    if fleet.stalled.operations:
        out.print(f"stalled: {' '.join(fleet.stalled.operations)}")
