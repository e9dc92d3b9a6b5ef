"""`python -m mcp_server` is the `longtasks` command."""

from .cli import main

main()
