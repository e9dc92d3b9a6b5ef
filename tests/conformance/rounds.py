"""Tools and a prompt that ask by answering: rounds of `InputRequiredResult` (2026-07-28), one request after another.

Part of the everything table; see `everything.py`. The request state is plain text
here; the SDK seals it on the way out and refuses one that was tampered with.
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import (
    CreateMessageRequest,
    CreateMessageRequestParams,
    CreateMessageResult,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequest,
    InputRequiredResult,
    ListRootsRequest,
    ListRootsResult,
    SamplingMessage,
    TextContent,
)

__all__ = ["add_rounds", "ask_for"]

Rounds = str | InputRequiredResult


def ask_for(message: str, field: str, kind: str = "string") -> ElicitRequest:
    """An elicitation of one required field."""
    schema = {"type": "object", "properties": {field: {"type": kind}}, "required": [field]}
    return ElicitRequest(params=ElicitRequestFormParams(message=message, requested_schema=schema))


def _ask_model(prompt: str, max_tokens: int) -> CreateMessageRequest:
    message = SamplingMessage(role="user", content=TextContent(text=prompt))
    return CreateMessageRequest(params=CreateMessageRequestParams(messages=[message], max_tokens=max_tokens))


def _answered(ctx: Context, key: str) -> dict[str, Any] | None:
    """What was accepted under a key, if anything was."""
    response = (ctx.input_responses or {}).get(key)
    if isinstance(response, ElicitResult) and response.action == "accept":
        return dict(response.content or {})
    return None


def _more(requests: dict[str, InputRequest], state: str | None = None) -> InputRequiredResult:
    return InputRequiredResult(input_requests=requests, request_state=state)


async def elicitation(ctx: Context) -> Rounds:
    """Ask for a name, then greet."""
    if (answer := _answered(ctx, "user_name")) is None:
        return _more({"user_name": ask_for("What is your name?", "name")})
    return f"Hello, {answer.get('name')}!"


async def sampling(ctx: Context) -> Rounds:
    """Have the caller's model answer a question."""
    answer = (ctx.input_responses or {}).get("capital_question")
    if not isinstance(answer, CreateMessageResult):
        return _more({"capital_question": _ask_model("What is the capital of France?", 100)})
    return answer.content.text if isinstance(answer.content, TextContent) else str(answer.content)


async def list_roots(ctx: Context) -> Rounds:
    """Ask for the caller's roots."""
    answer = (ctx.input_responses or {}).get("client_roots")
    if not isinstance(answer, ListRootsResult):
        return _more({"client_roots": ListRootsRequest()})
    return "Roots: " + ", ".join(str(root.uri) for root in answer.roots)


async def _confirmed(ctx: Context, state: str) -> Rounds:
    if _answered(ctx, "confirm") is None or ctx.request_state != state:
        return _more({"confirm": ask_for("Please confirm", "ok", "boolean")}, state)
    return "state-ok"


async def request_state(ctx: Context) -> Rounds:
    """Carry a state over the rounds."""
    return await _confirmed(ctx, "round 1 of request_state")


async def tampered_state(ctx: Context) -> Rounds:
    """Carry a state that nobody else can make."""
    return await _confirmed(ctx, "round 1 of tampered_state")


async def multiple_inputs(ctx: Context) -> Rounds:
    """Ask three things of different kinds at once."""
    requests: dict[str, InputRequest] = {
        "user_name": ask_for("What is your name?", "name"),
        "greeting": _ask_model("Generate a greeting", 50),
        "client_roots": ListRootsRequest(),
    }
    if not requests.keys() <= (ctx.input_responses or {}).keys():
        return _more(requests, "asked for three")
    return "All three were answered"


async def multi_round(ctx: Context) -> Rounds:
    """Ask for a name, and in the next round for a colour."""
    if ctx.request_state is None:
        return _more({"step1": ask_for("Step 1: What is your name?", "name")}, "name asked")
    if (name := _answered(ctx, "step1")) is not None:
        request = ask_for("Step 2: What is your favorite color?", "color")
        return _more({"step2": request}, f"colour asked of {name.get('name')}")
    color = (_answered(ctx, "step2") or {}).get("color")
    return f"{ctx.request_state.removeprefix('colour asked of ')} likes {color}"


async def capabilities(ctx: Context) -> Rounds:
    """Ask only what the caller declared it can answer."""
    declared = ctx.request_context.session.client_capabilities
    requests: dict[str, InputRequest] = {}
    if declared is not None and declared.elicitation is not None:
        requests["user_name"] = ask_for("What is your name?", "name")
    if declared is not None and declared.sampling is not None:
        requests["greeting"] = _ask_model("Generate a greeting", 50)
    return _more(requests) if requests.keys() - (ctx.input_responses or {}).keys() else "Nothing left to ask"


async def prompt(ctx: Context) -> str | InputRequiredResult:
    """A prompt that first asks what it is about."""
    if (answer := _answered(ctx, "user_context")) is None:
        return _more({"user_context": ask_for("What context should the prompt use?", "context")})
    return f"Answer in this context: {answer.get('context')}"


def add_rounds(server: MCPServer[Any]) -> None:
    for function in (
        elicitation,
        sampling,
        list_roots,
        request_state,
        tampered_state,
        multiple_inputs,
        multi_round,
        capabilities,
    ):
        name = f"test_input_required_result_{function.__name__}"
        server.add_tool(function, name=name, structured_output=False)
    server.prompt(name="test_input_required_result_prompt")(prompt)
