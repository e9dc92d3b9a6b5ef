"""The commands of a fleet: `worker` runs tasks of a shared backend without HTTP, `workers` shows who does.

Both talk to the backend itself, so they need no server that answers.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import asdict
from typing import Annotated, Any, Protocol, runtime_checkable

import anyio
import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table

from .app import LongTaskServer, package_version
from .backend import Backend
from .backends import open_backend
from .errors import ConfigurationError
from .loading import load_server, run_async
from .serving import running
from .settings import Settings

__all__ = ["fleet_commands", "work"]

DRAIN_GRACE = 30.0
"""Seconds running tasks get to finish when a worker is told to stop: nobody waits for its port."""

fleet_commands = typer.Typer()
out = Console(highlight=False, width=None if sys.stdout.isatty() else 200)


@runtime_checkable
class FleetBackend(Backend, Protocol):
    """A backend that several machines share and that knows who they are."""

    async def fleet(self) -> Any: ...


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
    if not isinstance(opened, FleetBackend):
        raise ConfigurationError(f"a {opened.name} backend has no fleet; --backend redis://… has")

    async def show() -> None:
        async with opened:
            seen = await opened.fleet()
        if as_json:
            print(to_json(asdict(seen), indent=2).decode())
        else:
            _show(seen)

    run_async(show)


def _show(fleet: Any) -> None:
    table = Table("worker", "host", "pid", "version", "slots", "running", "task types", box=None)
    for seen in fleet.workers:
        running = f"{len(seen.running)}: {' '.join(seen.running)}" if seen.running else "0"
        row: list[Any] = [seen.name, seen.host, seen.pid, seen.version, seen.slots, running, " ".join(seen.types)]
        table.add_row(*map(str, row))
    out.print(table if fleet.workers else "no workers")
    waited = "" if fleet.oldest_waiting is None else f", the oldest for {fleet.oldest_waiting:.1f} s"
    out.print(f"{fleet.queued} waiting{waited}; {fleet.delayed} delayed; {fleet.claimed} claimed")
    if fleet.stalled:
        out.print(f"stalled: {' '.join(fleet.stalled)}")
