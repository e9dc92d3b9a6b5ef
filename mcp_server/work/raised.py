"""Exceptions out of a task function, as failures that callers see and a log can hold."""

from __future__ import annotations

import re
import traceback
from pathlib import Path
from typing import Any

from ..errors import InvalidArgument, TaskError, cut, protocol_error
from ..jsonable import to_jsonable, unicode_text

__all__ = ["as_dict", "described", "only", "told_by", "traced", "unexpected"]

MAX_MESSAGE_CHARS, MAX_CODE_CHARS = 10_000, 200
"""Characters kept of an error."""


MAX_SHOWN_CHARS = 1_000
"""Characters shown of an unexpected exception."""
MAX_TRACEBACK_CHARS = 8_000
"""Characters kept of a traceback: its end."""
_OURS = str(Path(__file__).parents[1])
_FOLDERS = re.compile(r"(?<![\w:/.])(?:file://)?(?:/[^\s/'\":,;()<>]+)+/(?=[^\s/])|\b[A-Za-z]:\\(?:[^\s\\'\":]+\\)+")
"""The folders of an absolute path; the last name stays. A path within a URL is left alone."""


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


def unexpected(raised: BaseException, incident: str, *, masked: bool) -> TaskError:
    """The TaskError that stands for an exception that says nothing on purpose: its type and message.

    Args:
        incident: finds the traceback in the log.
        masked: leave out everything but the incident.
    """
    said = "The task failed unexpectedly" if masked else getattr(raised, "described", None) or described(raised)
    return TaskError(f"{said} (incident {incident})", details={"incident": incident})


def described(raised: BaseException) -> str:
    """Type and message of an exception in one line, without the folders of the server."""
    try:
        message = " ".join(unicode_text(raised).split())
    except Exception:  # an author's own `__str__`
        message = ""
    message = _FOLDERS.sub("", message)
    return cut(f"{type(raised).__name__}: {message}" if message else type(raised).__name__, MAX_SHOWN_CHARS)


def traced(raised: BaseException) -> str:
    """The traceback of an exception, from the first frame that is not ours; its end, if it is long."""
    if (text := getattr(raised, "traceback", None)) is None:  # it was raised in another process
        frames = raised.__traceback__
        while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
            frames = frames.tb_next
        text = "".join(traceback.format_exception(type(raised), raised, frames))
    return unicode_text(str(text)[-MAX_TRACEBACK_CHARS:], MAX_TRACEBACK_CHARS)


def as_dict(error: TaskError) -> dict[str, Any]:
    """The keyword arguments that rebuild this error."""
    return {"message": error.message, "code": error.code, "details": error.details, "retry": error.retry}


def only(error: BaseException) -> BaseException:
    """The single exception within groups of one, such as a task group of the function's own makes; else the error."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
