"""The `longtasks` command. Every flag has an environment variable `LONGTASKS_…`.

Errors are one line on standard error and an exit code: 1 a task or request failed,
2 wrong use or configuration, 3 the server cannot be reached.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any

import anyio
import typer

from .app import LongTaskServer, package_version
from .cli_client import commands
from .demo import demo_server
from .errors import ConfigurationError
from .serving import serve as serve_http
from .serving import set_up_logging

__all__ = ["app", "main"]

app = typer.Typer(
    name="longtasks", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Durable long-running tasks over MCP: start, watch, answer, cancel and collect them.",
)  # fmt: skip
app.add_typer(commands)

AppOption = Annotated[str | None, typer.Option("--app", help="The application, as module:attribute")]
BackendOption = Annotated[str | None, typer.Option(help="sqlite:///PATH or redis://HOST:PORT/DB")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version")] = False) -> None:
    if version:
        typer.echo(package_version())
        raise typer.Exit


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one")] = None,
    backend: BackendOption = None,
    app: AppOption = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error")] = None,
) -> None:
    """Serve MCP, progress streams and health over HTTP, and run tasks."""
    server = load_server(app, host=host, port=port, backend=backend, log_level=log_level)
    run_async(lambda: serve_http(server))


@app.command()
def stdio(backend: BackendOption = None, app: AppOption = None, log_level: str | None = None) -> None:
    """Serve one MCP client over standard input and output."""
    server = load_server(app, backend=backend, log_level=log_level)
    run_async(server.run_stdio_async)


def load_server(target: str | None, **flags: Any) -> LongTaskServer:
    """The server named by --app (default: the stock one), with flags over its own settings.

    Raises:
        ConfigurationError: there is no such thing, or it is no LongTaskServer.
    """
    target = target or os.environ.get("LONGTASKS_APP") or None
    server = demo_server() if target is None else _imported(target)
    given = {name: value for name, value in flags.items() if value is not None}
    settings = replace(server.engine.settings, **given)
    server.configure(settings)
    set_up_logging(settings.log_level)
    return server


def _imported(target: str) -> LongTaskServer:
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise ConfigurationError(f"--app must be module:attribute, got {target!r}")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"--app {target}: there is no module {error.name!r}") from None
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ConfigurationError(f"--app {target}: {module_name} has no {attribute!r}")
        found = getattr(found, name)
    if callable(found) and not isinstance(found, LongTaskServer):
        found = found()
    if not isinstance(found, LongTaskServer):
        raise ConfigurationError(f"--app {target} is a {type(found).__name__}, not a LongTaskServer")
    return found


def run_async(function: Callable[[], Any]) -> None:
    options = {} if sys.platform == "win32" else {"use_uvloop": True}
    anyio.run(function, backend_options=options)


def main() -> None:
    """The command's entry point."""
    try:
        app()
    except ConfigurationError as error:
        print(f"longtasks: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
