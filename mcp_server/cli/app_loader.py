"""A server that is ready to run, from the words of a command line: the application, its settings, the event loop."""

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

    Args:
        target: a file (`reports.py`) or a module (`package.reports`), and after a colon the name of a server
            or of a function that makes one. Without a name the only server of the module is meant.

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
    place, attribute = _split(target)
    sys.path.insert(0, os.getcwd())
    file = Path(place).resolve() if place.endswith(".py") else None
    if file is not None and not file.is_file():
        raise ConfigurationError(f"--app {target}: there is no file {str(file)!r}")
    module_name = place if file is None else _module_of(file)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"--app {target}: there is no module {error.name!r}{_hint(place)}") from None
    except Exception as error:
        raise ConfigurationError(f"--app {target} cannot be imported: {_where(error)}") from None
    if file is not None and getattr(module, "__file__", None) != str(file):
        raise ConfigurationError(f"--app {target}: there is another module named {module_name!r}; rename the file")
    return _only_server(target, module) if attribute is None else _named_server(target, module, attribute)


def _split(target: str) -> tuple[str, str | None]:
    place, colon, attribute = target.rpartition(":")
    if not colon or "/" in attribute or "\\" in attribute:  # the colon of a Windows drive
        place, attribute = target, ""
    if not place or (colon and place != target and not attribute):
        raise ConfigurationError(f"--app must be a file or a module, with :name or without, got {target!r}")
    return place, attribute or None


def _module_of(file: Path) -> str:
    """The name a file is imported by, and its folder on the path; within a package the package's name comes first."""
    folder, parts = file.parent, [file.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    sys.path.insert(0, str(folder))
    return ".".join(parts)


def _hint(place: str) -> str:
    file = Path(f"{place}.py")
    return f"; did you mean {str(file)!r}?" if os.sep in place and file.is_file() else ""


def _named_server(target: str, module: Any, attribute: str) -> LongTaskServer:
    found = module
    for name in attribute.split("."):
        if not hasattr(found, name):
            raise ConfigurationError(f"--app {target}: {module.__name__} has no {attribute!r}")
        found = getattr(found, name)
    if callable(found) and not isinstance(found, LongTaskServer):
        try:
            found = found()
        except Exception as error:
            raise ConfigurationError(f"--app {target} cannot be called: {_where(error)}") from None
    if not isinstance(found, LongTaskServer):
        raise ConfigurationError(f"--app {target} is a {type(found).__name__}, not a LongTaskServer")
    return found


def _only_server(target: str, module: Any) -> LongTaskServer:
    found = {id(value): name for name, value in vars(module).items() if isinstance(value, LongTaskServer)}
    if not found:
        raise ConfigurationError(
            f"--app {target}: {module.__name__} has no LongTaskServer; a function that makes one is named as "
            f"{target}:FUNCTION"
        )
    if len(found) > 1:
        names = " and ".join(f"{target}:{name}" for name in found.values())
        raise ConfigurationError(f"--app {target}: there are {len(found)} servers; choose one of {names}")
    (name,) = found.values()
    server: LongTaskServer = getattr(module, name)
    return server


def _where(error: Exception) -> str:
    """An error of the application's own code in one line, with its place."""
    between = (str(Path(__file__).parents[1]), str(Path(importlib.__file__).parent), "<")
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(between)]
    line = f"{type(error).__name__}: {error}"
    # A syntax error names its place itself; a function that cannot be called has none.
    if frames and not isinstance(error, SyntaxError):
        line += f" ({frames[-1].filename}, line {frames[-1].lineno})"
    return " ".join(line.split())


def run_async(function: Callable[[], Any]) -> None:
    options = {} if sys.platform == "win32" else {"use_uvloop": True}
    anyio.run(function, backend_options=options)
