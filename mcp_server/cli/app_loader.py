"""From what the command line says to a server that is ready to run: the application, its settings, the event loop."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from ..app import LongTaskServer
from ..errors import ConfigurationError
from ..hosting import set_up_logging
from .demo import demo_server

__all__ = ["load_server", "run_async"]


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
    except Exception as error:
        raise ConfigurationError(f"--app {target} cannot be imported: {_where(error)}") from None
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ConfigurationError(f"--app {target}: {module_name} has no {attribute!r}")
        found = getattr(found, name)
    if callable(found) and not isinstance(found, LongTaskServer):
        try:
            found = found()
        except Exception as error:
            raise ConfigurationError(f"--app {target} cannot be called: {_where(error)}") from None
    if not isinstance(found, LongTaskServer):
        raise ConfigurationError(f"--app {target} is a {type(found).__name__}, not a LongTaskServer")
    return found


def _where(error: Exception) -> str:
    """An error of the application's own code in one line, with the place it comes from."""
    between = (str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(between)]
    line = f"{type(error).__name__}: {error}"
    # A syntax error says where it is itself; a function that cannot be called has not got anywhere.
    if frames and not isinstance(error, SyntaxError):
        line += f" ({frames[-1].filename}, line {frames[-1].lineno})"
    return " ".join(line.split())


def run_async(function: Callable[[], Any]) -> None:
    options = {} if sys.platform == "win32" else {"use_uvloop": True}
    anyio.run(function, backend_options=options)
