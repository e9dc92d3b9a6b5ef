"""The `longtasks` command. Every flag has an environment variable, `LONGTASKS_` and its name.

Errors are one line on standard error and an exit code: 1 a task or request failed,
2 wrong use or configuration, 3 the server cannot be reached.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Annotated, Any

import typer
import typer.main

from .._version import package_version
from ..errors import ConfigurationError
from ..settings import Settings
from .fleet import AppArgument, AppOption, fleet_commands, one_app
from .keys import key_commands
from .output import leave_pipe, prepare, say
from .server import commands as server_commands
from .tasks import commands

__all__ = ["command", "main"]

app = typer.Typer(
    name="longtasks", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Durable long-running tasks over MCP: start, watch, answer, cancel and collect them.",
)  # fmt: skip
app.add_typer(server_commands)
app.add_typer(commands)
app.add_typer(fleet_commands)
app.add_typer(key_commands, name="keys")

BackendOption = Annotated[str | None, typer.Option(help="sqlite:///PATH or redis://HOST:PORT/DB")]
LogLevelOption = Annotated[str | None, typer.Option(help="debug, info, warning or error")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version")] = False) -> None:
    if version:
        typer.echo(package_version())
        raise typer.Exit


@app.command()
def serve(
    application: AppArgument = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one")] = None,
    backend: BackendOption = None,
    app: AppOption = None,
    log_level: LogLevelOption = None,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Run no tasks: workers do")] = False,
    auth: Annotated[str | None, typer.Option(help="Who is let in: keys, oidc, or keys,oidc")] = None,
    issuer: Annotated[str | None, typer.Option(help="The issuer whose tokens are accepted, with --auth oidc")] = None,
    audience: Annotated[str | None, typer.Option(help="What its tokens must be for: this server's public URL")] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Listen on other addresses than loopback without authentication")
    ] = None,
    reload: Annotated[bool, typer.Option("--reload", help="Start anew when the code changes")] = False,
) -> None:
    """Serve MCP, progress streams and health over HTTP, and run tasks."""
    from ..hosting import serve as serve_http
    from .app_loader import load_server, run_async

    access = {"auth": auth, "issuer": issuer, "audience": audience, "insecure": insecure}
    flags = {"host": host, "port": port, "backend": backend, "log_level": log_level, **access}
    chosen = one_app(application, app)
    if reload:
        from .reload import serve_reloading

        serve_reloading(chosen, work=not no_worker, **flags)
        return
    server = load_server(chosen, **flags)
    run_async(lambda: serve_http(server, work=not no_worker))


@app.command()
def stdio(
    application: AppArgument = None,
    backend: BackendOption = None,
    app: AppOption = None,
    log_level: LogLevelOption = None,
) -> None:
    """Serve one MCP client over standard input and output."""
    from .app_loader import load_server, run_async

    server = load_server(one_app(application, app), backend=backend, log_level=log_level)
    run_async(server.run_stdio_async)


def command() -> Any:
    """The command with all that belongs to it; here every flag gets its variable, so none can be forgotten."""
    group = typer.main.get_command(app)
    settings = {f.name for f in fields(Settings)}
    for option in _options(group):
        if option.param_type_name != "option":
            continue
        variable = f"LONGTASKS_{option.opts[0].removeprefix('--').replace('-', '_').upper()}"
        if option.name in settings and option.default is None:
            # `Settings` reads it: what the application says in its code wins over the variable, not over the flag.
            option.help = f"{option.help} (env var: {variable})"  # square brackets would be markup
        else:
            option.envvar, option.show_envvar = variable, True
            # For a flag that may be repeated: one value a line, since values may hold blanks.
            option.split_envvar_value = str.splitlines
    return group


def _options(group: Any) -> Iterator[Any]:
    for each in group.commands.values():
        yield from each.params
        if hasattr(each, "commands"):
            yield from _options(each)


def _check_encoding(arguments: Sequence[str]) -> None:
    """Refuse what is not text: bytes that are no UTF-8 reach a program as halves of pairs, which nothing can send."""
    for place, argument in enumerate(arguments, 1):
        if any("\ud800" <= character <= "\udfff" for character in argument):
            raise typer.BadParameter(
                f"{argument!r} is no {sys.getfilesystemencoding()} text", param_hint=f"word {place}"
            )


def main() -> None:
    """The command's entry point."""
    prepare()
    try:
        _check_encoding(sys.argv[1:])
        sys.exit(command()(standalone_mode=False))
    except typer.TyperException as error:
        # Told without a command it has shown its help, which is all there is to say.
        if message := " ".join(error.format_message().split()):
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context else ""
            say(f"longtasks: {message.rstrip('.')}{hint}")
        sys.exit(2)
    except ConfigurationError as error:
        say(f"longtasks: {error}")
        sys.exit(2)
    except BrokenPipeError:
        leave_pipe()


if __name__ == "__main__":
    main()
