"""What an exception says to callers."""

from __future__ import annotations

import pytest

from mcp_server import TaskError
from mcp_server.work.raised import MAX_TRACEBACK_CHARS, described, told_by, traced, unexpected


def test_an_error_is_kept_in_brief_and_without_what_cannot_be_stored() -> None:
    """A task that failed has failed: what it says of it is cut, not refused."""
    told = told_by(TaskError("m" * 50_000, code="C" * 500, details={"x": object()}), 99)
    assert told is not None
    assert (len(told.message), len(told.code), list(told.details)) == (10_000, 200, ["dropped"])
    assert told_by(ValueError("secret"), 99) is None


class Odd(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        (ValueError("no page 3"), "ValueError: no page 3"),
        (KeyError("page"), "KeyError: 'page'"),
        (StopIteration(), "StopIteration"),
        (Odd(), "Odd"),
        (ValueError("a\n  b \ud800"), "ValueError: a b \ufffd"),
        (
            FileNotFoundError(2, "No such file", "/srv/app/data/in.csv"),
            "FileNotFoundError: [Errno 2] No such file: 'in.csv'",
        ),
        (OSError("cannot open /srv/app/data, nor C:\\Users\\me\\x.db"), "OSError: cannot open data, nor x.db"),
        (
            ValueError("GET https://example.com/a/b/c failed, see file:///srv/app/log.txt"),
            "ValueError: GET https://example.com/a/b/c failed, see log.txt",
        ),
        (ValueError("a/b/c is 3/4"), "ValueError: a/b/c is 3/4"),
        (ValueError("x" * 5000), "ValueError: " + "x" * 985 + "..."),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_is_described_without_folders_of_the_server(raised: Exception, shown: str) -> None:
    """Type and message in one line; the last name of a path stays, so that the author knows the file."""
    assert described(raised) == shown


def test_a_masked_exception_is_only_an_incident() -> None:
    """The number finds it in the log."""
    error = unexpected(ValueError("secret"), "abc", masked=True)
    assert (error.message, error.details) == ("The task failed unexpectedly (incident abc)", {"incident": "abc"})
    assert unexpected(ValueError("bad"), "abc", masked=False).message == "ValueError: bad (incident abc)"


def test_a_long_traceback_is_kept_by_its_end() -> None:
    """Where it failed stands last; and it begins with the first frame that is not the package's own."""
    try:
        raise ValueError("x" * 20_000 + " the end")
    except ValueError as error:
        text = traced(error)
    assert len(text) <= MAX_TRACEBACK_CHARS
    assert text.endswith("the end\n")
