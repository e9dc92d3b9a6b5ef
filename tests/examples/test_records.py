"""Records and their byte offsets."""

from __future__ import annotations

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.csv_profile.records import MAX_RECORD_BYTES, Records
from mcp_server import TaskError

FIELD = st.text(st.sampled_from('ab ",;\r\n\u00e9\u2028\U0001f600\x00'), max_size=6)
RECORD = st.lists(FIELD, min_size=1, max_size=4)


def written(records: list[list[str]], line_end: str) -> bytes:
    return "".join(",".join(map(_field, record)) + line_end for record in records).encode()


def _field(text: str) -> str:
    # An empty field of its own would be an empty line. The standard library's writer forgets "\r".
    is_plain = text and not set(text) & set(',"\r\n')
    return text if is_plain else '"' + text.replace('"', '""') + '"'


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(RECORD, max_size=8), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_what_is_left_behind_any_offset_is_the_rest_of_the_records(
    records: list[list[str]], line_end: str, with_mark: bool
) -> None:
    """Whatever the fields hold, the offset after a record is where the others can be read on."""
    content = (b"\xef\xbb\xbf" if with_mark and records else b"") + written(records, line_end)
    file = io.BytesIO(content)
    reading = Records(file)
    assert list(Records(io.BytesIO(content))) == records
    for number, record in enumerate(records, start=1):
        assert next(reading) == record
        assert list(Records(io.BytesIO(content), offset=reading.offset)) == records[number:]
    assert reading.offset == len(content)


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(RECORD, max_size=20), st.integers(1, 40))
def test_slices_are_whole_records_and_hold_all_of_them(records: list[list[str]], size: int) -> None:
    """A slice ends with the first record that makes it large enough; an empty one is the end."""
    reading = Records(io.BytesIO(written(records, "\n")))
    start, taken = 0, list[list[str]]()
    while some := reading.slice(size):
        assert reading.offset - start >= size or len(taken) + len(some) == len(records)
        start = reading.offset
        taken += some
    assert taken == records


@pytest.mark.parametrize(
    "content",
    [
        b'a,b\n"never closed,' + b"x" * MAX_RECORD_BYTES,
        b'a,b\n"never closed\n' + b"1,2\n" * (MAX_RECORD_BYTES // 4),
        b"a,b\n" + b"x" * (MAX_RECORD_BYTES + 1),
        b"a,b\n1\r2,3\n",
    ],
    ids=["one long field", "a field of many lines", "one long line", "a bare carriage return"],
)
def test_what_is_no_csv_is_refused_with_its_place_before_it_fills_the_memory(content: bytes) -> None:
    """The error names the byte at which the record begins, and at most its bound was read."""
    file = io.BytesIO(content)
    reading = Records(file)
    assert next(reading) == ["a", "b"]
    with pytest.raises(TaskError) as caught:
        next(reading)
    assert caught.value.code == "BAD_CSV"
    assert caught.value.details == {"byte_offset": 4}
    assert file.tell() <= MAX_RECORD_BYTES + 8


def test_a_record_of_the_largest_size_is_read() -> None:
    """The bound itself is allowed."""
    content = b"a\n" + b"x" * (MAX_RECORD_BYTES - 1) + b"\n"
    assert [len(record[0]) for record in Records(io.BytesIO(content))] == [1, MAX_RECORD_BYTES - 1]
