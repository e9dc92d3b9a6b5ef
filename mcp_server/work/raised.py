"""Exceptions out of a task function, as failures that callers see and a log can hold."""

from __future__ import annotations

from typing import Any

from ..errors import InvalidArgument, TaskError, protocol_error
from ..jsonable import to_jsonable, unicode_text

__all__ = ["as_dict", "only", "told_by"]

MAX_MESSAGE_CHARS, MAX_CODE_CHARS = 10_000, 200
"""Characters kept of an error."""


def told_by(raised: BaseException, max_bytes: int) -> TaskError | None:
    """The TaskError that stands for this exception; None if it was not raised for callers."""
    match raised:
        case TaskError():
            error = raised
        case InvalidArgument():
            error = TaskError(raised.message, code=raised.code, details=raised.details, retry=False)
        case SystemExit():
            error = TaskError(f"The function called exit({raised.code!r})", code="EXIT")
        case _:
            if (found := protocol_error(raised)) is None:
                return None
            error = found
    try:
        details = to_jsonable(error.details, "details", max_bytes)
    except TaskError as unclean:
        details = {"dropped": unclean.message}
    return TaskError(
        unicode_text(error.message, MAX_MESSAGE_CHARS),
        code=unicode_text(error.code, MAX_CODE_CHARS),
        details=details,
        retry=error.retry,
    )


def as_dict(error: TaskError) -> dict[str, Any]:
    """The keyword arguments that rebuild this error."""
    return {"message": error.message, "code": error.code, "details": error.details, "retry": error.retry}


def only(error: BaseException) -> BaseException:
    """The single exception within groups of one, such as a task group of the function's own makes; else the error."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
