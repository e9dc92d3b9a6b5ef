"""The "everything" table: what the requirement sets of the official suite call on a server, tasks aside.

`add_everything` puts it on any `MCPServer`; names, arguments and answers are the
suite's. The parts live in modules of their own: what tools return (`contents`),
questions sent while a call is open (`questions`), questions asked by answering a call
(`rounds`), resources, prompts and the small methods (`listings`).
Knows the SDK and the suite, and nothing of long tasks.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import MCPServer

from tests.conformance.contents import add_contents
from tests.conformance.listings import add_listings
from tests.conformance.questions import add_questions
from tests.conformance.rounds import add_rounds

__all__ = ["add_everything"]


def add_everything(server: MCPServer[Any]) -> None:
    """Add every tool, prompt, resource and method that the suite's frozen requirement sets call."""
    add_contents(server)
    add_questions(server)
    add_rounds(server)
    add_listings(server)
