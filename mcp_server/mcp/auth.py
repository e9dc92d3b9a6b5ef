"""The seal of what a client carries from one request to the next."""

from __future__ import annotations

from mcp.server.mcpserver import RequestStateSecurity

from ..errors import ConfigurationError
from ..settings import words

__all__ = ["shared_secret"]


def shared_secret(keys: str) -> RequestStateSecurity:
    """The key that seals what a client carries from one request to the next, the same in every process."""
    try:
        return RequestStateSecurity(keys=words(keys))
    except ValueError as error:
        raise ConfigurationError(f"request_state_key: {error}") from None
