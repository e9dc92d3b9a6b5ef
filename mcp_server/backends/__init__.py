"""The places tasks can be kept. `open_backend` picks one from its URL; nothing else here is public."""

from __future__ import annotations

from pathlib import Path

from ..backend import Backend
from ..errors import ConfigurationError
from ..settings import Settings, without_password

__all__ = ["open_backend"]


def open_backend(settings: Settings) -> Backend:
    """The backend that `settings.backend` names; it touches nothing before it is entered.

    Raises:
        ConfigurationError: the URL is of no known form, or needs an extra that is not installed.
    """
    scheme, separator, rest = settings.backend.partition("://")
    if scheme == "sqlite" and separator:
        # sqlite:///relative.db, sqlite:////absolute.db
        path = rest.removeprefix("/")
        if not path:
            raise ConfigurationError(f"the backend URL {settings.backend!r} names no file; write sqlite:///PATH")
        from .sqlite import SQLiteBackend

        return SQLiteBackend(
            Path(path), durability=settings.durability, lease=settings.lease, drain=settings.drain_grace
        )
    if scheme in ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster") and separator:
        try:
            from .redis import RedisBackend
        except ImportError as error:
            raise ConfigurationError(
                f"a {scheme}:// backend needs the extra: pip install 'mcp-long-tasks[redis]' ({error.name} is missing)"
            ) from None
        return RedisBackend(settings.backend, lease=settings.lease, drain=settings.drain_grace)
    raise ConfigurationError(
        f"unknown backend {without_password(settings.backend)!r}; write sqlite:///PATH or redis://HOST:PORT/DB"
    )
