"""A task's events as the UI message stream of the AI SDK (version 1), which `useChat` reads.

Pure: events go in, chunks come out. Text and reasoning are blocks in that protocol: their first
piece opens one, a piece of the other kind, a tool or the end closes it. The number of the first
event names a block, so that all readers of a log see the same names, from whatever cursor.

The chunk types are those of the npm package `ai` 7, whose parser refuses every other type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["DONE", "UI_MESSAGE_HEADERS", "UIMessages"]

UI_MESSAGE_HEADERS = {"x-vercel-ai-ui-message-stream": "v1"}
DONE = b"data: [DONE]\n\n"
"""The last line of a stream that is whole; one that a stop of the server cut has none."""

BLOCKS = ("text", "reasoning")
"""Output topics whose strings are pieces of one running text."""

Chunk = dict[str, Any]


class UIMessages:
    """The chunks of one reader.

    The reader's events are given from the first one on: those up to its cursor yield nothing, and
    a block that is open at the cursor is opened again under its own name before what follows.

    Args:
        operation_id: becomes the id of the message.
        after: number of the last event the reader has; 0 for none.
    """

    def __init__(self, operation_id: str, after: int = 0) -> None:
        self._id, self._after = operation_id, after
        self._block: tuple[str, str] | None = None
        """Topic and name of the open block."""
        self._has_begun = False

    def chunks(self, number: int | None, event: str, data: Mapping[str, Any]) -> list[Chunk]:
        """The chunks of one event of the stream; `number` is None for a frame that is no event of the log."""
        open_before = self._block
        found = list(self._encoded(number, event, data))
        if number is not None and number <= self._after:
            return []
        if not self._has_begun:
            self._has_begun = True
            found[:0] = [{"type": "start", "messageId": self._id}]
            if open_before is not None:
                found[1:1] = [{"type": f"{open_before[0]}-start", "id": open_before[1]}]
        return found

    def _encoded(self, number: int | None, event: str, data: Mapping[str, Any]) -> Iterator[Chunk]:
        match event:
            case "output":
                yield from self._output(number, data["topic"], data["data"])
            case "progress":
                # One part that each report replaces: parts of the same type and id are one.
                yield {"type": "data-progress", "id": "progress", "data": dict(data)}
            case "input_required":
                for key, request in data["input_requests"].items():
                    yield {"type": "data-question", "id": key, "data": request["params"]}
            case "done":
                yield from self._closed()
                if data["status"] == "cancelled":
                    yield {"type": "abort", "reason": data.get("reason") or "cancelled"}
                else:
                    yield {"type": "finish", "finishReason": "stop"}
            case "error":
                yield from self._closed()
                yield {"type": "error", "errorText": data["error"]}
                yield {"type": "finish", "finishReason": "error"}
            case _:
                yield {"type": f"data-{event}", "data": dict(data), "transient": True}

    def _output(self, number: int | None, topic: str | None, data: Any) -> Iterator[Chunk]:
        if topic in BLOCKS and isinstance(data, str):
            if self._block is None or self._block[0] != topic:
                yield from self._closed()
                self._block = topic, f"{topic}-{number}"
                yield {"type": f"{topic}-start", "id": self._block[1]}
            yield {"type": f"{topic}-delta", "id": self._block[1], "delta": data}
        elif topic == "tool" and isinstance(data, Mapping) and "toolCallId" in data:
            yield from self._closed()
            yield _tool(data)
        elif topic is not None and topic.startswith("data-"):
            yield {"type": topic, "data": data}
        else:
            yield {"type": "data-output", "data": {"topic": topic, "data": data}}

    def _closed(self) -> Iterator[Chunk]:
        if self._block is not None:
            yield {"type": f"{self._block[0]}-end", "id": self._block[1]}
            self._block = None


def _tool(data: Mapping[str, Any]) -> Chunk:
    """A tool's call or its outcome, by the field that is there: `errorText`, `output`, else `input`."""
    call = {"toolCallId": str(data["toolCallId"])}
    if "errorText" in data:
        return {"type": "tool-output-error", **call, "errorText": str(data["errorText"])}
    if "output" in data:
        return {"type": "tool-output-available", **call, "output": data["output"]}
    return {"type": "tool-input-available", **call, "toolName": str(data.get("toolName")), "input": data.get("input")}
