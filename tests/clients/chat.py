"""A server whose task answers like a chat model, for the AI SDK's client."""

from __future__ import annotations

import anyio

from mcp_server import LongTaskServer, TaskContext, TaskError

server = LongTaskServer("chat")


@server.task
async def chat(words: list[str], end: str = "well", *, task: TaskContext) -> str:
    """Thinks, calls a tool, and answers a word at a time."""
    await task.emit("Let me look.", topic="reasoning")
    await task.emit({"toolCallId": "t1", "toolName": "search", "input": {"query": "x"}}, topic="tool")
    await task.emit({"toolCallId": "t1", "output": [1, 2]}, topic="tool")
    for number, word in enumerate(words, 1):
        await task.report(number, total=len(words), message="writing")
        await task.emit(word, topic="text")
        await anyio.sleep(0.01)
    if end == "badly":
        raise TaskError("no luck")
    return "".join(words)
