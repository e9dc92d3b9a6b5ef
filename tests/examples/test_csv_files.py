"""Files as they come: with quotes, gaps, a byte order mark, too short and too long rows, or not there at all.

The task function runs in a thread of the test's own server here, to save a process per file.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from examples.csv_profile.profiling import MAX_COLUMNS, profile_csv
from examples.csv_profile.records import MAX_RECORD_BYTES
from tests.server.servers import Caller, make_server, serve


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    server = make_server(tmp_path)
    server.task(profile_csv)
    async with serve(server) as caller:
        yield caller


async def reply_for(caller: Caller, path: Path | str, **arguments: Any) -> dict[str, Any]:
    operation_id = await caller.start("profile_csv", {"path": str(path), **arguments})
    return await caller.call("get_task_result", operation_id=operation_id, wait_seconds=60)


async def profile_of(caller: Caller, path: Path, content: bytes, **arguments: Any) -> dict[str, Any]:
    await anyio.Path(path).write_bytes(content)
    reply = await reply_for(caller, path, **arguments)
    assert reply["status"] == "success", reply
    profile: dict[str, Any] = reply["data"]["result"]
    assert profile["bytes"] == len(content)
    return profile


TWO_ROWS = b'name,n\n"Doe, J.",1\n"said ""hi""\nand left",2\n'


@pytest.mark.parametrize(
    "content",
    [
        TWO_ROWS,
        b"\xef\xbb\xbf" + TWO_ROWS,
        b'"name",n\r\n"Doe, J.",1\r\n"said ""hi""\nand left",2\r\n',
        TWO_ROWS.replace(b"2\n", b"2"),
        b"\n" + TWO_ROWS + b"\n\n",
        b"\xef\xbb\xbf\n" + TWO_ROWS,
    ],
    ids=["plain", "byte order mark", "CRLF", "no last line end", "empty lines", "mark and empty line"],
)
async def test_the_same_rows_have_one_profile_however_they_are_written(
    content: bytes, caller: Caller, tmp_path: Path
) -> None:
    """Quotes, doubled quotes, commas and line ends in fields, either line end, with or without a mark."""
    profile = await profile_of(caller, tmp_path / "file.csv", content)
    name, number = profile["columns"]
    assert (profile["rows"], profile["ragged_rows"]) == (2, 0)
    assert (name["name"], name["examples"]) == ("name", ["Doe, J.", 'said "hi"\nand left'])
    assert (number["name"], number["type"], number["mean"]) == ("n", "integer", 1.5)


async def test_short_rows_have_gaps_and_long_rows_lose_their_end(caller: Caller, tmp_path: Path) -> None:
    """Ragged rows are counted, and never move a value into another column."""
    profile = await profile_of(caller, tmp_path / "file.csv", b"a,b,c\n1\n2,3,4,5\n6,7,8\n9\n")
    assert (profile["rows"], profile["ragged_rows"]) == (4, 3)
    assert [column["max"] for column in profile["columns"]] == [9, 7, 8]
    assert [column["missing"] for column in profile["columns"]] == [0, 2, 2]


async def test_a_column_that_no_row_reaches_is_missing_everywhere(caller: Caller, tmp_path: Path) -> None:
    """All rows too short is no reason to leave a column out."""
    profile = await profile_of(caller, tmp_path / "file.csv", b"a,b\n1\n2\n")
    assert [(column["missing"], column["type"]) for column in profile["columns"]] == [(0, "integer"), (2, None)]


@pytest.mark.parametrize(
    ("content", "columns"), [(b"", []), (b"\xef\xbb\xbf", []), (b"\n\n", []), (b"a,b", ["a", "b"])]
)
async def test_a_file_without_rows_has_an_empty_profile(
    content: bytes, columns: list[str], caller: Caller, tmp_path: Path
) -> None:
    """Nothing in it is a result, not a failure."""
    profile = await profile_of(caller, tmp_path / "file.csv", content)
    assert profile["rows"] == 0
    assert [column["name"] for column in profile["columns"]] == columns
    assert all(column["type"] is None and column["distinct"] == 0 for column in profile["columns"])


async def test_names_may_be_missing_repeated_and_very_long(caller: Caller, tmp_path: Path) -> None:
    """Columns keep their order; a name that is not there is made up, a long one is cut."""
    profile = await profile_of(caller, tmp_path / "file.csv", b"a,,a," + b"x" * 500 + b"\n1,2,3,4\n")
    assert [column["name"] for column in profile["columns"]] == ["a", "column 2", "a", "x" * 100]


async def test_another_delimiter_can_be_named(caller: Caller, tmp_path: Path) -> None:
    """Then commas are part of the values."""
    profile = await profile_of(caller, tmp_path / "file.csv", b"a;b\n1,5;2\n", delimiter=";")
    assert [column["examples"] for column in profile["columns"]] == [["1,5"], ["2"]]


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n"])
async def test_what_cannot_separate_fields_is_refused_before_there_is_a_task(
    delimiter: str, caller: Caller, tmp_path: Path
) -> None:
    """The argument's schema says so, and a caller is told which argument it is."""
    arguments = {"path": str(tmp_path / "file.csv"), "delimiter": delimiter}
    reply = await caller.call("start_long_task", task_type="profile_csv", arguments=arguments)
    assert reply["error_code"] == "INVALID_ARGUMENT"
    assert "delimiter" in reply["details"]["errors"][0]["path"]


async def test_bytes_that_are_no_utf_8_do_not_end_a_profile(caller: Caller, tmp_path: Path) -> None:
    """They are shown as the replacement character."""
    profile = await profile_of(caller, tmp_path / "file.csv", b"a\n\xe9t\xe9\n")
    assert profile["columns"][0]["examples"] == ["\ufffdt\ufffd"]


async def test_a_file_that_is_not_there_is_a_failure_with_a_code(caller: Caller, tmp_path: Path) -> None:
    """The message names the path; so does one that cannot be a path."""
    for path in (str(tmp_path / "nowhere.csv"), "a\x00b"):
        reply = await reply_for(caller, path)
        assert (reply["status"], reply["error_code"]) == ("error", "TASK_FAILED")
        assert reply["details"]["error_code"] == "NO_SUCH_FILE"
        assert repr(path) in reply["error"]


@pytest.mark.parametrize("kind", ["folder", "pipe"])
async def test_what_is_no_file_is_not_waited_for(kind: str, caller: Caller, tmp_path: Path) -> None:
    """To open a pipe that nobody writes to would take forever."""
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    else:
        os.mkfifo(path)
    assert (await reply_for(caller, path))["details"]["error_code"] == "NOT_A_FILE"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b'a,b\n1,"' + b"x" * (MAX_RECORD_BYTES + 1), "BAD_CSV"),
        (b",".join(b"c" for _ in range(MAX_COLUMNS + 1)), "TOO_WIDE"),
    ],
    ids=["unclosed quote", "too many columns"],
)
async def test_a_file_beyond_the_bounds_fails_and_says_why(
    content: bytes, code: str, caller: Caller, tmp_path: Path
) -> None:
    """A code a program can act on, and no attempt to go on."""
    path = tmp_path / "file.csv"
    await anyio.Path(path).write_bytes(content)
    reply = await reply_for(caller, path)
    assert reply["details"]["error_code"] == code


async def test_the_widest_file_has_a_checkpoint_that_fits(caller: Caller, tmp_path: Path) -> None:
    """All columns with full samples, long names and long examples of four-byte characters, within the event limit."""
    path = tmp_path / "wide.csv"
    symbol = "\U0001f600"
    with path.open("w") as file:
        file.write(",".join(symbol * 100 for _ in range(MAX_COLUMNS)) + "\n")
        for row in range(5):
            file.write(",".join(f"{row}{symbol * 60}" for _ in range(MAX_COLUMNS)) + "\n")
        for row in range(1100):
            file.write(",".join(f"{row}-{column}" for column in range(MAX_COLUMNS)) + "\n")
    operation_id = await caller.start("profile_csv", {"path": str(path), "chunk_bytes": 1024 * 1024})
    reply = await caller.call("get_task_result", operation_id=operation_id, wait_seconds=110)
    assert reply["status"] == "success", reply
    frames = await caller.frames(operation_id)
    assert [frame.data["reason"] for frame in frames if frame.event == "status"].count("checkpoint") >= 2
