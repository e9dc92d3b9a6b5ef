"""Tools that ask while their call is open, as sessions up to 2025-11-25 allow, or refuse for want of a capability.

Part of the everything table; see `everything.py`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPError
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    ClientCapabilities,
    ElicitResult,
    MissingRequiredClientCapabilityErrorData,
    SamplingCapability,
    SamplingMessage,
    TextContent,
)
from pydantic import BaseModel

__all__ = ["add_questions"]


class Contact(BaseModel):
    username: str
    email: str


class Standing(StrEnum):
    ACTIVE = "active"
    INACTIVE = "inactive"
    PENDING = "pending"


DEFAULTS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}


def _titled(prefix: str, *titles: str) -> list[dict[str, str]]:
    return [{"const": f"{prefix}{i}", "title": title} for i, title in enumerate(titles, start=1)]


OPTIONS = ["option1", "option2", "option3"]
ENUMS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": OPTIONS},
        "titledSingle": {"type": "string", "oneOf": _titled("value", "First Option", "Second Option", "Third Option")},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": OPTIONS}},
        "titledMulti": {
            "type": "array",
            "items": {"anyOf": _titled("value", "First Choice", "Second Choice", "Third Choice")},
        },
    },
}


async def sampling(prompt: str, ctx: Context) -> str:
    """Have the caller's model complete a prompt."""
    message = SamplingMessage(role="user", content=TextContent(text=prompt))
    answer = await ctx.request_context.session.create_message(
        [message], max_tokens=100, related_request_id=ctx.request_id
    )
    content = answer.content
    return f"LLM response: {content.text if isinstance(content, TextContent) else content}"


async def elicitation(message: str, ctx: Context) -> str:
    """Ask the caller for a name and an address."""
    answer = await ctx.elicit(message, Contact)
    content = answer.data.model_dump() if answer.action == "accept" else {}
    return f"User response: action={answer.action}, content={content}"


async def _ask(ctx: Context, message: str, schema: dict[str, Any]) -> str:
    answer: ElicitResult = await ctx.request_context.session.elicit_form(
        message, schema, related_request_id=ctx.request_id
    )
    return f"Elicitation completed: action={answer.action}, content={answer.content}"


async def elicitation_sep1034_defaults(ctx: Context) -> str:
    """Ask with a default for every primitive type."""
    return await _ask(ctx, "Check what is filled in", DEFAULTS)


async def elicitation_sep1330_enums(ctx: Context) -> str:
    """Ask with every spelling of an enum."""
    return await _ask(ctx, "Choose", ENUMS)


async def missing_capability(ctx: Context) -> str:
    """Need sampling, and refuse a caller that did not declare it."""
    declared = ctx.request_context.session.client_capabilities
    if declared is None or declared.sampling is None:
        required = MissingRequiredClientCapabilityErrorData(
            required_capabilities=ClientCapabilities(sampling=SamplingCapability())
        )
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message="This tool needs the sampling capability",
            data=required.model_dump(by_alias=True, mode="json", exclude_none=True),
        )
    return "The caller declared sampling"


def add_questions(server: MCPServer[Any]) -> None:
    for function in (
        sampling,
        elicitation,
        elicitation_sep1034_defaults,
        elicitation_sep1330_enums,
        missing_capability,
    ):
        server.add_tool(function, name=f"test_{function.__name__}", structured_output=False)
