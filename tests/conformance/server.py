"""The fixture server of the official conformance suite: `python tests/conformance/server.py --port N`.

Our server with the suite's task types and its everything table. Prints its base URL,
as one line, when it listens; MCP is at `/mcp` below it. Several of these may share
one store, as replicas do.
"""

from __future__ import annotations

import argparse
import sys
import warnings

import uvicorn
from mcp.server.mcpserver import RequestStateSecurity
from mcp.shared.exceptions import MCPDeprecationWarning

from mcp_server import LongTaskServer, Settings
from tests.conformance.event_store import RecentEvents
from tests.conformance.everything import add_everything
from tests.conformance.processes import listening
from tests.conformance.task_types import add_task_types

__all__ = ["fixture"]

SHARED_KEY = "what every replica of the fixture seals its request state with"


def fixture(settings: Settings) -> LongTaskServer:
    security = RequestStateSecurity(keys=[SHARED_KEY])
    # The suite provokes errors all the time; what the SDK logs about them is no news.
    server = LongTaskServer("conformance", settings=settings, request_state_security=security, log_level="ERROR")
    add_task_types(server)
    add_everything(server)
    return server


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--backend", help="as for `longtasks serve`; by default a file of its own in this folder")
    parser.add_argument("--wait", action="store_true", help="first wait for a line on standard input")
    arguments = parser.parse_args()
    if arguments.wait:
        sys.stdin.readline()
    # The suite waits ten seconds for a task to end, also for one whose process was killed.
    server = fixture(Settings.load(backend=arguments.backend, lease=1.0, log_level="warning"))
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # the suite also asks for what 2026-07-28 gives up
    app = server.http_app(event_store=RecentEvents(), retry_interval=500)
    socket, url = listening(arguments.port)
    print(url, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[socket])


if __name__ == "__main__":
    main()
