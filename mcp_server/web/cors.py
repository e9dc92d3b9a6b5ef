"""Permission for web pages of other origins to read from this server."""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from ..settings import Settings, words

__all__ = ["cors"]


def cors(settings: Settings) -> list[Middleware]:
    """The middleware for the pages the settings name; none when they name none."""
    if not (origins := words(settings.cors_origins)):
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["*"],
            expose_headers=["Mcp-Session-Id"],
        )
    ]
