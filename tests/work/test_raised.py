"""What an exception says to callers."""

from __future__ import annotations

from mcp_server import TaskError
from mcp_server.work.raised import told_by


def test_an_error_is_kept_in_brief_and_without_what_cannot_be_stored() -> None:
    """A task that failed has failed: what it says of it is cut, not refused."""
    told = told_by(TaskError("m" * 50_000, code="C" * 500, details={"x": object()}), 99)
    assert told is not None
    assert (len(told.message), len(told.code), list(told.details)) == (10_000, 200, ["dropped"])
    assert told_by(ValueError("secret"), 99) is None
