"""`longtasks serve --reload`: serves in a process of its own, which is replaced whenever the code changes.

uvicorn's reloader watches the files. A running task is given back with its last checkpoint, and the new
process takes it up; clients reconnect.
"""

from __future__ import annotations

import socket
import sys
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.supervisors import ChangeReload

from ..errors import ConfigurationError
from ..hosting import serve, set_up_logging
from .app_loader import load_server, run_async

__all__ = ["serve_reloading"]


def serve_reloading(app: str | None, *, work: bool, **flags: Any) -> None:
    """Serve until SIGINT or SIGTERM, and anew after each change of a Python file.

    Watched are the present folder and the one of the application's file.
    """
    set_up_logging(flags.get("log_level") or "info")
    folders = {Path.cwd()}
    if app is not None and ".py" in app:
        folders.add(Path(app.partition(".py")[0]).resolve().parent)
    config = uvicorn.Config("", reload=True, reload_dirs=[str(folder) for folder in folders], log_config=None)
    ChangeReload(config, target=partial(_serve_once, app, work, flags), sockets=[]).run()


def _serve_once(app: str | None, work: bool, flags: dict[str, Any], sockets: list[socket.socket] | None) -> None:
    try:
        server = load_server(app, **flags)
        run_async(lambda: serve(server, work=work))
    except ConfigurationError as error:
        # The next change of the code is the next attempt.
        print(f"longtasks: {error}", file=sys.stderr)
        sys.exit(2)
