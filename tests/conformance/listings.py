"""Resources, prompts, completion, list changes, and the small methods of sessions up to 2025-11-25.

Part of the everything table; see `everything.py`.
"""

from __future__ import annotations

import json
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.mcpserver import Context, MCPServer, UserMessage
from mcp_types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    EmbeddedResource,
    EmptyResult,
    PromptReference,
    ResourceTemplateReference,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextResourceContents,
    UnsubscribeRequestParams,
)

from tests.conformance.contents import PNG, image

__all__ = ["add_listings"]


def static_text() -> str:
    """A text that never changes."""
    return "This is the content of the static text resource."


def static_binary() -> bytes:
    """A picture that never changes."""
    return PNG


def watched_resource() -> str:
    """A text to subscribe to."""
    return "Watched resource content"


def template_data(id: str) -> str:
    """Data for an id that is part of the address."""
    return json.dumps({"id": id, "templateTest": True, "data": f"Data for ID: {id}"})


def simple_prompt() -> str:
    """A prompt without arguments."""
    return "This is a simple prompt for testing."


def prompt_with_arguments(arg1: str, arg2: str) -> str:
    """A prompt with two arguments."""
    return f"Prompt with arguments: arg1={arg1!r}, arg2={arg2!r}"


def prompt_with_embedded_resource(resourceUri: str) -> list[UserMessage]:
    """A prompt that carries a resource."""
    text = "Embedded resource content for testing."
    resource = TextResourceContents(uri=resourceUri, mime_type="text/plain", text=text)
    return [
        UserMessage(EmbeddedResource(resource=resource)),
        UserMessage("Please process the embedded resource above."),
    ]


def prompt_with_image() -> list[UserMessage]:
    """A prompt that carries a picture."""
    return [UserMessage(image()), UserMessage("Please analyze the image above.")]


async def complete(
    ref: PromptReference | ResourceTemplateReference, argument: CompletionArgument, context: CompletionContext | None
) -> Completion:
    values = [word for word in ("paris", "park", "party", "test", "tester") if word.startswith(argument.value)]
    return Completion(values=values, total=len(values), has_more=False)


async def trigger_tool_change(ctx: Context) -> str:
    """Change the list of tools and tell the listeners."""
    ctx.mcp_server.add_tool(simple_prompt, name="test_added_tool", structured_output=False)
    ctx.mcp_server.remove_tool("test_added_tool")
    await ctx.notify_tools_changed()
    return "The list of tools changed, and changed back"


async def trigger_prompt_change(ctx: Context) -> str:
    """Change the list of prompts and tell the listeners."""
    ctx.mcp_server.prompt(name="test_added_prompt")(simple_prompt)
    ctx.mcp_server.remove_prompt("test_added_prompt")
    await ctx.notify_prompts_changed()
    return "The list of prompts changed, and changed back"


async def _accept(ctx: ServerRequestContext[Any, Any], params: object) -> EmptyResult:
    return EmptyResult()


def add_listings(server: MCPServer[Any]) -> None:
    server.resource("test://static-text", mime_type="text/plain")(static_text)
    server.resource("test://static-binary", mime_type="image/png")(static_binary)
    server.resource("test://watched-resource", mime_type="text/plain")(watched_resource)
    server.resource("test://template/{id}/data", mime_type="application/json")(template_data)
    for prompt in (simple_prompt, prompt_with_arguments, prompt_with_embedded_resource, prompt_with_image):
        server.prompt(name=f"test_{prompt.__name__}")(prompt)
    for tool in (trigger_tool_change, trigger_prompt_change):
        server.add_tool(tool, name=f"test_{tool.__name__}", structured_output=False)
    server.completion()(complete)  # type: ignore[no-untyped-call]  # the SDK forgot the annotation
    # `MCPServer` has no public way to answer these three, and extensions may not bind methods of the specification.
    low_level = server._lowlevel_server
    low_level.add_request_handler("logging/setLevel", SetLevelRequestParams, _accept)
    low_level.add_request_handler("resources/subscribe", SubscribeRequestParams, _accept)
    low_level.add_request_handler("resources/unsubscribe", UnsubscribeRequestParams, _accept)
