"""Runs a `LongTaskServer` under uvicorn until a signal; the only file that knows uvicorn."""

from __future__ import annotations

import logging
import signal
import sys

import anyio
import uvicorn

from .app import LongTaskServer, package_version

__all__ = ["serve"]

GRACEFUL_SECONDS = 2
"""How long requests that are being answered may go on after a signal. Streams end at once."""


class _Server(uvicorn.Server):
    """Says where it listens once it does, which with port 0 nobody knows before."""

    def __init__(self, config: uvicorn.Config, backend: str) -> None:
        super().__init__(config)
        self._backend = backend

    async def startup(self, sockets: list[object] | None = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
                print(  # noqa: T201
                    f"longtasks {package_version()} listening on {url} (MCP at {url}/mcp, tasks in {self._backend})",
                    file=sys.stderr,
                    flush=True,
                )


async def serve(server: LongTaskServer, *, work: bool = True) -> None:
    """Serve HTTP as `server`'s settings say, until SIGINT or SIGTERM.

    Raises:
        ConfigurationError: the backend cannot be opened.
        SystemExit: the address is taken; uvicorn has said so.
    """
    settings = server.engine.settings
    app = server.http_app()
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_level=settings.log_level,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        server_header=False,
    )
    # uvicorn handles the signals while it runs and raises them again afterwards; that
    # second time must find somebody home, or the tasks would not be given back.
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM):
        async with server.running(work=work):
            await _Server(config, settings.backend).serve()
    logging.getLogger(__name__).info("stopped")
