"""The wire formats of four makers of models, as far as an agent host needs them to call tools.

A dialect reads a host's request as a `Conversation` and writes the model's `Act` as the
response. All answer as a stream of server-sent events, since every host asks for that.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

__all__ = ["DIALECTS", "Act", "Conversation", "Dialect", "Event"]

Event = tuple[str | None, Any]
"""Name and data of a server-sent event."""
Request = Mapping[str, Any]


@dataclass(frozen=True)
class Conversation:
    """What a model is shown: the definitions of tools by name, and the answers of the calls so far."""

    tools: dict[str, Any]
    answers: list[str]


@dataclass(frozen=True)
class Act:
    """What a model does: call a tool, or else say something and be done."""

    tool: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    text: str = ""


class Dialect(Protocol):
    @staticmethod
    def read(request: Request) -> Conversation: ...

    @staticmethod
    def write(act: Act, request: Request) -> list[Event]: ...


class Messages:
    """Anthropic's Messages."""

    @staticmethod
    def read(request: Request) -> Conversation:
        blocks = [block for m in request["messages"] if isinstance(m["content"], list) for block in m["content"]]
        answers = [_text(block.get("content")) for block in blocks if block.get("type") == "tool_result"]
        return Conversation({tool["name"]: tool for tool in request.get("tools", [])}, answers)

    @staticmethod
    def write(act: Act, request: Request) -> list[Event]:
        block: dict[str, Any] = {"type": "text", "text": ""}
        delta = {"type": "text_delta", "text": act.text}
        stop = "end_turn"
        if act.tool is not None:
            block = {"type": "tool_use", "id": _id("toolu"), "name": act.tool, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(act.arguments)}
            stop = "tool_use"
        message = {
            "id": _id("msg"), "type": "message", "role": "assistant", "model": request.get("model", "scripted"),
            "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": {"input_tokens": 1, "output_tokens": 1},
        }  # fmt: skip
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": stop}, "usage": {"output_tokens": 1}},
            {"type": "message_stop"},
        ]
        return [(event["type"], event) for event in events]


class Responses:
    """OpenAI's Responses; a host may put the tools of one server into a namespace."""

    @staticmethod
    def read(request: Request) -> Conversation:
        flat = [inner for tool in request.get("tools", []) for inner in tool.get("tools", [tool]) if "name" in inner]
        outputs = [item["output"] for item in request.get("input", []) if item.get("type") == "function_call_output"]
        return Conversation({tool["name"]: tool for tool in flat}, [_text(output) for output in outputs])

    @staticmethod
    def write(act: Act, request: Request) -> list[Event]:
        said = [{"type": "output_text", "text": act.text, "annotations": []}]
        item: dict[str, Any] = {"type": "message", "id": _id("msg"), "role": "assistant", "content": said}
        if act.tool is not None:
            item = {"type": "function_call", "id": _id("fc"), "call_id": _id("call"), "name": act.tool}
            item["arguments"] = json.dumps(act.arguments)
            for tool in request.get("tools", []):
                if act.tool in {inner["name"] for inner in tool.get("tools", [])}:
                    item["namespace"] = tool["name"]
        item["status"] = "completed"
        usage = {
            "input_tokens": 1, "output_tokens": 1, "total_tokens": 2,
            "input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0},
        }  # fmt: skip
        response = {"id": _id("resp"), "object": "response"}
        done = {**response, "status": "completed", "output": [item], "usage": usage}
        events: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**response, "status": "in_progress", "output": []}},
            {"type": "response.output_item.added", "output_index": 0, "item": item},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": done},
        ]
        return [(event["type"], event) for event in events]


class Completions:
    """OpenAI's Chat Completions, which many others speak."""

    @staticmethod
    def read(request: Request) -> Conversation:
        functions = [tool["function"] for tool in request.get("tools", [])]
        answers = [_text(message["content"]) for message in request["messages"] if message["role"] == "tool"]
        return Conversation({function["name"]: function for function in functions}, answers)

    @staticmethod
    def write(act: Act, request: Request) -> list[Event]:
        delta: dict[str, Any] = {"role": "assistant", "content": act.text}
        if act.tool is not None:
            function = {"name": act.tool, "arguments": json.dumps(act.arguments)}
            delta = {"role": "assistant", "tool_calls": [{"index": 0, "id": _id("call"), "type": "function"}]}
            delta["tool_calls"][0]["function"] = function
        chunk = {"id": _id("chunk"), "object": "chat.completion.chunk", "created": 1, "model": "scripted"}
        end = {"index": 0, "delta": {}, "finish_reason": "tool_calls" if act.tool else "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        return [
            (None, {**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}),
            (None, {**chunk, "choices": [end], "usage": usage}),
            (None, "[DONE]"),
        ]


class GenerateContent:
    """Google's Gemini."""

    @staticmethod
    def read(request: Request) -> Conversation:
        functions = [f for tool in request.get("tools", []) for f in tool.get("functionDeclarations", [])]
        parts = [part for content in request.get("contents", []) for part in content.get("parts", [])]
        responses = [part["functionResponse"]["response"] for part in parts if "functionResponse" in part]
        return Conversation({f["name"]: f for f in functions}, [_text(r.get("output", r)) for r in responses])

    @staticmethod
    def write(act: Act, request: Request) -> list[Event]:
        part: dict[str, Any] = {"text": act.text}
        if act.tool is not None:
            part = {"functionCall": {"name": act.tool, "args": act.arguments}}
        candidate = {"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}
        usage = {"promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2}
        return [(None, {"candidates": [candidate], "usageMetadata": usage})]


DIALECTS: Mapping[str, type[Dialect]] = {
    "/messages": Messages,
    "/responses": Responses,
    "/chat/completions": Completions,
    "enerateContent": GenerateContent,
}
"""By how the path of a request ends; Gemini's in `generateContent` or `streamGenerateContent`."""


def _text(content: Any) -> str:
    """The text of an answer, however a host wraps it."""
    if isinstance(content, str):
        return content
    if isinstance(content, Iterable) and not isinstance(content, Mapping):
        return "".join(part.get("text", "") for part in content)
    return json.dumps(content, ensure_ascii=False)


def _id(kind: str) -> str:
    return f"{kind}_{uuid.uuid4().hex}"
