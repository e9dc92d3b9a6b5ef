"""The envelope every tool of ours answers with, and the `Tool` that puts answers into it.

A tool method returns its data or raises a `CallerError`; this file makes the same
object out of either, as `structuredContent` and as JSON text, and lets no traceback out.
"""

from __future__ import annotations

import inspect
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, Self, get_type_hints

from mcp.server.mcpserver.context import Context
from mcp.server.mcpserver.tools import Tool
from mcp_types import CallToolResult, TextContent
from pydantic import BaseModel, ValidationError

from client_sdk import wire

from ..errors import CallerError, Internal, InvalidArgument
from ..jsonable import to_text
from ..registry import explain
from .advice import next_after_error

__all__ = ["Answered", "ReplyTool", "failure", "success"]

logger = logging.getLogger(__name__)


class Answered(Exception):
    """Carries a finished result out of a tool method that is no plain success."""

    def __init__(self, result: CallToolResult) -> None:
        super().__init__()
        self.result = result


class ReplyTool(Tool):
    """A tool whose function returns the `data` of a success, or raises a CallerError."""

    @classmethod
    def of(cls, function: Callable[..., Any], **kwargs: Any) -> Self:
        """A tool like the function, whose output schema is the envelope around what the function returns."""
        tool = cls.from_function(function, description=inspect.getdoc(function), **kwargs)
        assert isinstance(tool, cls)
        data = get_type_hints(function)["return"]
        tool.fn_metadata = tool.fn_metadata.model_copy(
            update={"output_schema": wire.Reply[data].model_json_schema(mode="serialization"), "output_model": None}  # type: ignore[valid-type]
        )
        return tool

    async def run(self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False) -> Any:
        try:
            try:
                bound = self.fn_metadata.validate_arguments(arguments)
            except ValidationError as error:
                raise _invalid(error) from None
            if self.context_kwarg is not None:
                bound[self.context_kwarg] = context
            return success(self.name, await self.fn(**bound))
        except Answered as answered:
            return answered.result
        except CallerError as error:
            return failure(self.name, error)
        except Exception:
            incident = uuid.uuid4().hex[:12]
            logger.exception("tool %s failed, incident %s", self.name, incident)
            return failure(self.name, Internal(incident))


def success(action: str, data: BaseModel) -> CallToolResult:
    # Only what was said: the fields of a failure are not part of a success.
    return _result(
        {"status": "success", "action": action, "data": data.model_dump(mode="json"), "timestamp": _now()},
        is_error=False,
    )


def failure(
    action: str, error: CallerError, *, data: dict[str, Any] | None = None, is_error: bool = True
) -> CallToolResult:
    advice = error.details.get("next") or next_after_error(error)
    return _result(
        {
            "status": "error",
            "action": action,
            "error": error.message,
            "error_code": error.code,
            "details": {**error.details, "next": advice} if advice else error.details,
            "data": data,
            "timestamp": _now(),
        },
        is_error=is_error,
    )


def _result(reply: dict[str, Any], *, is_error: bool) -> CallToolResult:
    return CallToolResult(
        content=[TextContent(type="text", text=to_text(reply))], structured_content=reply, is_error=is_error
    )


def _now() -> str:
    return wire.timestamp(time.time())


def _invalid(error: ValidationError) -> InvalidArgument:
    errors = [explain(e) for e in error.errors(include_url=False)]
    return InvalidArgument(f"Invalid arguments: {errors[0]['path']}: {errors[0]['message']}", errors=errors)
