"""Task types about texts. Another file makes a server of them."""

from __future__ import annotations

from mcp_server import Registry, TaskContext

texts = Registry()


@texts.task
async def count(text: str, *, task: TaskContext) -> dict[str, int]:
    """How often each word occurs in a text."""
    words = text.split()
    found: dict[str, int] = {}
    for n, word in enumerate(words, 1):
        found[word] = found.get(word, 0) + 1
        await task.report(n, total=len(words))
    return found
