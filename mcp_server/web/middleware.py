"""The middleware that every request to the application passes.

Their calls are plain functions, so that an open stream holds no frame of theirs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from ..errors import Unavailable
from .failures import error_response

__all__ = ["NoTrailingSlash", "OnlyWhileOpen"]

NOT_RUNNING = (
    "The server is not running. An application that mounts it has to run it in its own lifespan: "
    "Starlette(lifespan=server.lifespan), FastAPI(lifespan=server.lifespan)"
)


class NoTrailingSlash:
    """Answers an address with a slash at its end as the one without, instead of redirecting to it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and scope["path"].endswith("/") and len(scope["path"]) > 1:
            scope = {**scope, "path": scope["path"].rstrip("/") or "/"}
        return self._app(scope, receive, send)


class OnlyWhileOpen:
    """Answers with what is missing where the application was mounted and the server does not run."""

    def __init__(self, app: ASGIApp, is_open: Callable[[], bool]) -> None:
        self._app, self._is_open = app, is_open

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        answer: ASGIApp = self._app
        if scope["type"] == "http" and not self._is_open():
            answer = error_response(Unavailable(NOT_RUNNING), "http")
        return answer(scope, receive, send)
