"""An application of two files: `longtasks serve examples/several_files/server.py`."""

from __future__ import annotations

from mcp_server import LongTaskServer

from .text import texts

server = LongTaskServer("several files")
server.include(texts, prefix="text_")
