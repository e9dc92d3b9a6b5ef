"""The sender of a request, as the engine's rules see it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ANONYMOUS", "Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The party on whose behalf a request is made.

    Args:
        owner: names whose tasks it sees and starts. A task of another owner does not exist for it.
    """

    owner: str


ANONYMOUS = Principal("")
"""Every sender where nobody has to authenticate: over stdio, in memory, and over HTTP without a token verifier."""
