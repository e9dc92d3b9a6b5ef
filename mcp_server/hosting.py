"""Runs a `LongTaskServer` under uvicorn; the only file that knows uvicorn."""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import FrameType
from typing import Any

import anyio
import uvicorn

from ._version import package_version
from .app import LongTaskServer
from .background import background_tasks
from .errors import ConfigurationError, visible
from .settings import Settings, without_password

__all__ = ["listening", "running", "serve", "set_up_logging"]

GRACEFUL_SECONDS = 2
"""Seconds that requests which are being answered may go on after a signal. Streams end at once."""
TICK_SECONDS = 0.1
"""Seconds between two looks for a second signal; uvicorn's own interval."""
MARGIN_SECONDS = 2.0
"""Seconds that the end of a process may take beyond the graces of its tasks."""


class _Server(uvicorn.Server):
    def __init__(self, server: LongTaskServer) -> None:
        config = uvicorn.Config(
            server.http_app(),
            log_config=None,
            lifespan="off",  # the server is running already
            access_log=False,
            timeout_graceful_shutdown=GRACEFUL_SECONDS,
            server_header=False,
        )
        super().__init__(config)
        self._application = server
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signals += 1
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Modules, classes and schemas stay as long as the process. Set aside, they are not walked again by every full
        # collection, which under load stopped the event loop for 50 ms each time.
        gc.collect()
        gc.freeze()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._application.drain()
        with anyio.move_on_after(self._application.engine.settings.unready_grace):
            while self._signals < 2:  # noqa: ASYNC110, a signal handler cannot set an event
                await anyio.sleep(TICK_SECONDS)
        # Else uvicorn would wait for the streams, which have no end of their own.
        self._application.close_streams()
        await super().shutdown(sockets)


class _SafeFormatter(logging.Formatter):
    """One line a record: a name or a message of a caller's cannot begin another, nor do anything to a terminal.

    Lines of a traceback are indented, so none can pass for a record.
    """

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = visible(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:
        return "\n".join(f"    {visible(line)}" for line in super().formatException(ei).splitlines())


def set_up_logging(level: str) -> None:
    """Log to standard error, our own lines only: one per request or session is more than an operator wants to read."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_SafeFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    # The SDK has set up logging of its own.
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for others in ("mcp", "uvicorn", "httpx2", "docket"):
        logging.getLogger(others).setLevel(max(logging.WARNING, logging.getLogger().level))


@asynccontextmanager
async def running(server: LongTaskServer, *, work: bool = True) -> AsyncIterator[None]:
    """`server.running` for a process of its own, which ends even if a task does not let itself be stopped.

    Raises:
        ConfigurationError: the backend cannot be opened.
    """
    settings = server.engine.settings
    grace = settings.drain_grace + settings.cancel_grace + MARGIN_SECONDS
    late = threading.Timer(grace, _end_without_tasks, [grace])
    late.daemon = True
    try:
        async with server.running(work=work):
            try:
                yield
            finally:
                late.start()
    finally:
        late.cancel()


def _end_without_tasks(grace: float) -> None:
    logging.getLogger(__name__).error("a task did not stop within %g s of being cancelled; ending without it", grace)
    logging.shutdown()
    os._exit(1)


async def serve(server: LongTaskServer, *, work: bool = True) -> None:
    """Serve HTTP as `server`'s settings say, until SIGINT or SIGTERM.

    Says on standard error where it listens.

    Raises:
        ConfigurationError: the address cannot be had, or the backend cannot be opened.
    """
    settings = server.engine.settings
    server.engine.is_private = server.check_exposure()
    http = _Server(server)
    with _listening_socket(settings) as listener, anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM):
        # uvicorn handles the signals while it runs and raises them again afterwards; that second
        # time must be received by our own receiver, or the tasks would not be given back.
        async with running(server, work=work):
            url = _url(listener)
            page = f", page at {url}/ui" if settings.ui == "on" else ""
            where = f"MCP at {url}/mcp{page}, tasks in {without_password(settings.backend)}"
            line = f"longtasks {package_version()} listening on {url} ({where})"
            print(line, file=sys.stderr, flush=True)  # noqa: T201
            await http.serve([listener])
    logging.getLogger(__name__).info("stopped")


@asynccontextmanager
async def listening(server: LongTaskServer) -> AsyncIterator[str]:
    """Serve HTTP for as long as the block lasts; yields the base URL. Leaves signals alone.

    Raises:
        ConfigurationError: as `serve`.
    """
    http, closed = _Server(server), anyio.Event()
    with _listening_socket(server.engine.settings) as listener:

        async def run() -> None:
            await http._serve([listener])  # `serve` without its signal handlers
            closed.set()

        async with server.running(), background_tasks() as tasks:
            tasks.start_soon(run)
            try:
                yield _url(listener)
            finally:
                http.should_exit = True
                with anyio.CancelScope(shield=True):
                    await closed.wait()


def _listening_socket(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=2048)
    except OSError as error:
        # Python adds the address to the system's own words, which our sentence has already.
        reason = str(error.strerror or error).partition(" (while")[0]
        raise ConfigurationError(f"cannot listen on {settings.host}:{settings.port}: {reason}") from None


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
