"""An agent that does what `next` says: it makes the call that the sentence names, until none is named.

What such an agent needs, in calls and in characters it reads, is what our answers cost a host.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.mcp.speaking import Modern

__all__ = ["Agent", "named_call"]

_CALL = re.compile(r"\b(get_task_result|get_task_progress|wait_for_tasks|respond_to_task|retry_task)\((.*?)\)[. ,]")


def named_call(sentence: str) -> tuple[str, dict[str, Any]] | None:
    """The call that a sentence names, or None."""
    if (found := _CALL.search(f"{sentence} ")) is None:
        return None
    call = ast.parse(f"{found[1]}({found[2]})", mode="eval").body
    assert isinstance(call, ast.Call)
    return found[1], {word.arg or "": ast.literal_eval(word.value) for word in call.keywords}


@dataclass
class Agent:
    """A model behind a host.

    Args:
        client: the host.
        token: whether the host asks for progress notifications.
    """

    client: Modern
    token: bool = False
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    read: list[int] = field(default_factory=list)
    """Characters of each answer."""

    async def call(self, tool: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The reply object of a call."""
        meta = {"progressToken": len(self.calls)} if self.token else None
        result = await self.client.call(tool, arguments, meta=meta)
        self.calls.append((tool, dict(arguments)))
        self.read.append(sum(len(block["text"]) for block in result["content"]))
        reply: dict[str, Any] = result["structuredContent"]
        return reply

    async def step(self, reply: Mapping[str, Any]) -> dict[str, Any] | None:
        """Make the call that a reply names; None if it names none."""
        said = named_call(next_of(reply))
        return None if said is None else await self.call(*said)


def next_of(reply: Mapping[str, Any]) -> str:
    sentence: str = (reply.get("details") or {}).get("next") or (reply.get("data") or {}).get("next") or ""
    return sentence
