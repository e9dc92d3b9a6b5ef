"""The MCP side: tools over the engine, and the HTTP endpoint that serves every kind of client."""
