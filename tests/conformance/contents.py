"""Tools judged by what they return: every kind of content, an error, progress, log messages, schemas.

Part of the everything table; see `everything.py`.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Annotated, Any

import anyio
import anyio.lowlevel
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp_types import (
    AudioContent,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
    TextResourceContents,
)
from pydantic import Field

__all__ = ["PNG", "add_contents", "image"]

PAUSE = 0.05
"""Seconds between two notifications, so that they are seen to arrive one by one."""

TURNS = 100
"""Turns of the event loop in which whoever can go on has gone on, however slow the machine is."""


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    red_pixel = zlib.compress(b"\x00\xff\x00\x00")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", red_pixel) + chunk(b"IEND", b"")


def _wav() -> bytes:
    form = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 8000, 8000, 1, 8)
    data = b"data" + struct.pack("<I", 8) + b"\x80" * 8
    return b"RIFF" + struct.pack("<I", 4 + len(form) + len(data)) + b"WAVE" + form + data


PNG = _png()
"""One red pixel."""


def image() -> ImageContent:
    return ImageContent(data=base64.b64encode(PNG).decode(), mime_type="image/png")


def _text_resource(uri: str, mime_type: str, text: str) -> EmbeddedResource:
    return EmbeddedResource(resource=TextResourceContents(uri=uri, mime_type=mime_type, text=text))


def simple_text() -> str:
    """Return one line of text."""
    return "This is a simple text response for testing."


def image_content() -> list[ContentBlock]:
    """Return a picture."""
    return [image()]


def audio_content() -> list[ContentBlock]:
    """Return a sound."""
    return [AudioContent(data=base64.b64encode(_wav()).decode(), mime_type="audio/wav")]


def embedded_resource() -> list[ContentBlock]:
    """Return a resource within the result."""
    return [_text_resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")]


def multiple_content_types() -> list[ContentBlock]:
    """Return text, a picture and a resource."""
    return [
        TextContent(text="Multiple content types test:"),
        image(),
        _text_resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
    ]


def error_handling() -> str:
    """Fail."""
    raise ToolError("This tool intentionally returns an error for testing")


async def tool_with_progress(ctx: Context) -> str:
    """Report 0, 50 and 100 of 100 to a caller that gave a progress token."""
    for done in (0, 50, 100):
        await ctx.report_progress(done, 100)
        await anyio.sleep(PAUSE)
    return "Reported 100 of 100"


async def tool_with_logging(ctx: Context) -> str:
    """Send three log messages."""
    for line in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        await ctx.log("info", line)
        await anyio.sleep(PAUSE)
    return "Sent three log messages"


async def logging_tool(ctx: Context) -> str:
    """Send a log message, which only a caller that set a log level may get."""
    await ctx.log("info", "A line for those who asked for it")
    return "Sent one log message"


async def streaming_elicitation(ctx: Context) -> str:
    """Report progress on the open response and send no request of its own on it."""
    await ctx.report_progress(1, 1)
    return "Nothing was asked"


async def reconnection(ctx: Context) -> str:
    """Close the response stream half way; the answer is for a caller that reconnects."""
    if ctx.request_context.close_sse_stream is not None:
        # Closing drops what the SDK has not written yet, and the first event of the stream, which the
        # caller needs in order to come back, is written by another task of this loop: it gets its turns.
        for _ in range(TURNS):
            await anyio.lowlevel.checkpoint()
        await ctx.request_context.close_sse_stream()
        await anyio.sleep(PAUSE)
    return "Answered after the stream was closed"


async def header_parameter(region: Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]) -> str:
    """Take a parameter that HTTP callers repeat in a header."""
    return f"Region {region}"


SCHEMA_2020_12: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}


def json_schema_2020_12() -> str:
    """Have an input schema with the keywords of JSON Schema 2020-12."""
    return "Listed with its schema as it is"


def add_contents(server: MCPServer[Any]) -> None:
    for function in (
        simple_text,
        image_content,
        audio_content,
        embedded_resource,
        multiple_content_types,
        error_handling,
        tool_with_progress,
        tool_with_logging,
        logging_tool,
        streaming_elicitation,
        reconnection,
        header_parameter,
    ):
        server.add_tool(function, name=f"test_{function.__name__}", structured_output=False)
    tool = Tool.from_function(json_schema_2020_12, name="json_schema_2020_12_tool", structured_output=False)
    tool.parameters = SCHEMA_2020_12
    # The SDK takes ready-made `Tool` values in its constructor only, and this server exists already.
    server._tool_manager._tools[tool.name] = tool
