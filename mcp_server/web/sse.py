"""text/event-stream: the bytes of frames, and the cursor that a request brings.

No I/O. A `data` line is JSON, whose strings hold no line feed. The characters that some readers take
for the end of a line as well (NEL, U+2028, U+2029: `str.splitlines` does) are written as JSON escapes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from starlette.requests import HTTPConnection

from client_sdk import wire

from ..errors import InvalidArgument, cut
from ..jsonable import to_json_bytes
from .feed import Segment

__all__ = ["HEARTBEAT", "RETRY", "cursor_of", "encode", "encode_data", "encode_event"]

HEARTBEAT = b": heartbeat\n\n"
RETRY = b"retry: 1000\n\n"
"""Milliseconds after which a client whose connection broke should come back."""

_LINE_ENDS = {"\x85".encode(): b"\\u0085", "\u2028".encode(): b"\\u2028", "\u2029".encode(): b"\\u2029"}


def encode(segment: Segment) -> bytes:
    """The frames of a segment; an `id` line stands only before an event of the log."""
    parts: list[bytes] = []
    for (number, name, _), data in zip(segment.frames, segment.json, strict=True):
        parts += (_head(number, name), data, b"\n\n")
    return _one_lined(b"".join(parts))


def encode_event(number: int | None, name: str, json: bytes) -> bytes:
    """One event.

    Args:
        json: its data, without a line feed.
    """
    return _one_lined(b"%b%b\n\n" % (_head(number, name), json))


def _head(number: int | None, name: str) -> bytes:
    if number is None:
        return f"event: {name}\ndata: ".encode()
    return f"id: {number}\nevent: {name}\ndata: ".encode()


def encode_data(messages: Iterable[Any]) -> bytes:
    """Messages of a protocol that has no events and no ids of its own: a `data` line each."""
    return _one_lined(b"".join(b"data: %b\n\n" % to_json_bytes(message) for message in messages))


def _one_lined(text: bytes) -> bytes:
    if text.isascii():  # told many times faster than a search for each of the characters
        return text
    for character, escape in _LINE_ENDS.items():
        if character in text:
            text = text.replace(character, escape)
    return text


def cursor_of(request: HTTPConnection) -> int | None:
    """The number of the last event the caller has, from the header or the query: 0 for none, None for `from=now`.

    Raises:
        InvalidArgument: it is something else.
    """
    if request.query_params.get("from") == "now":
        return None
    given = request.headers.get(wire.LAST_EVENT_ID)
    for name in ("last_event_id", "last_message_id"):
        given = given or request.query_params.get(name)
    given = (given or "0").strip()
    if given == "0-0":
        return 0
    if not (given.isascii() and given.isdigit() and len(given) <= 18):
        raise InvalidArgument.at("last_event_id", "must be the number of an event", "0 or more", cut(given, 80))
    return int(given)
