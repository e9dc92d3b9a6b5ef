"""Access: who may do what. Knows neither MCP nor HTTP.

principal.py  the sender of a request, as the engine's rules see it
"""
