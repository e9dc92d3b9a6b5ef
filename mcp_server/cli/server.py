"""The commands about a server: demo starts one of its own; types, health and open ask a running one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .output import json_line, say, table, tell
from .session import JsonOption, TokenOption, UrlOption, connected, reporting
from .tasks import conclude, shown

if TYPE_CHECKING:
    from client_sdk import LongTaskClient

__all__ = ["commands"]

commands = typer.Typer()


@commands.command()
def demo(
    duration: Annotated[float, typer.Option(min=0, max=3600, help="Seconds the task takes")] = 5.0,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps it reports")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Start a server, run a task through MCP, show its stream, print its result. Leaves nothing behind."""
    from client_sdk import LongTaskClient

    from ..hosting import listening, set_up_logging
    from ..settings import Settings
    from .demo import demo_server

    async def go() -> None:
        with tempfile.TemporaryDirectory() as folder:
            settings = Settings(backend=f"sqlite:///{Path(folder) / 'demo.db'}", port=0, log_level="warning")
            server = demo_server(settings)
            set_up_logging(settings.log_level)
            async with listening(server) as url, LongTaskClient(url) as client:
                say(f"server  {url}/mcp")
                handle = await client.start("data_analysis", {"duration_seconds": duration, "steps": steps})
                say(f"task    {handle.id}\nstream  {url}/progress/{handle.id}/stream")
                await conclude(handle, await shown(handle, as_json), as_json, seen=True)
                say("next    longtasks serve, and in another terminal: longtasks run data_analysis")

    reporting(go, "the demo's server")


@commands.command()
def types(as_json: JsonOption = False, url: UrlOption = None, token: TokenOption = None) -> None:
    """Show the task types that the server can run, with their arguments."""

    async def go(client: LongTaskClient) -> None:
        found = await client.task_types()
        if as_json:
            json_line(found)
        elif not found:
            tell("no task types")
        else:
            rows = [
                (info.name, _arguments(info.input_schema), (info.description.strip() or " ").splitlines()[0])
                for info in found
            ]
            table(("type", "arguments", "description"), rows, flexible="description")

    connected(url, token, go)


def _arguments(schema: dict[str, object]) -> str:
    """The arguments by name; one that may be left out in brackets."""
    properties, required = schema.get("properties"), schema.get("required")
    names = properties if isinstance(properties, dict) else {}
    needed = required if isinstance(required, list) else []
    return " ".join(name if name in needed else f"[{name}]" for name in names)


@commands.command()
def health(as_json: JsonOption = False, url: UrlOption = None, token: TokenOption = None) -> None:
    """Show whether the server is well, and how many tasks it has in each status; exit code 1 if it is not."""

    async def go(client: LongTaskClient) -> None:
        state = await client.health()
        if as_json:
            json_line(state)
        else:
            tell(f"{state.status}{f': {state.reason}' if state.reason else ''}")
            tasks = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in state.tasks.items() if count)
            for name, text in (
                ("version", state.version),
                ("backend", state.backend),
                ("task types", str(state.task_types)),
                ("tasks", tasks or "none"),
                ("queue", f"{state.fleet.queue.due} waiting, {state.fleet.claimed} claimed" if state.fleet else None),
            ):
                if text:
                    tell(f"{name:<12} {text}")
        if state.status != "healthy":
            raise typer.Exit(1)

    connected(url, token, go)
