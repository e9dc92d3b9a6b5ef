"""`python -m mcp_server` is the `longtasks` command."""

from .cli.main import main

main()
