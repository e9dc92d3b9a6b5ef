"""The HTTP side that is not MCP: progress streams, snapshots, health."""
