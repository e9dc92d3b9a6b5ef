"""A server whose one task type profiles a CSV file in a process of its own."""

from __future__ import annotations

from mcp_server import LongTaskServer

from .profiling import profile_csv

__all__ = ["server"]

server = LongTaskServer("csv-profile")
server.task(process=True)(profile_csv)
