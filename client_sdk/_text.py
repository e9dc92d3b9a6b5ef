"""Text of tasks and callers on a person's screen: control characters visible, everything in the screen's encoding.

A message of a task may hold escape sequences, which a terminal would obey, and
characters that the encoding of an old terminal has not.
"""

from __future__ import annotations

import codecs
import re

__all__ = ["ENCODABLE", "encodable", "encodable_json", "visible", "visible_json"]

ENCODABLE = "mcp-long-tasks"
"""An error handler of codecs: a plain stand-in for marks of ours, `\\uXXXX` for all else."""

_STAND_INS = {"…": "...", "·": "-", "—": "-", "✓": "+", "✗": "x"}

# C0 and C1 controls, what reverses the direction of text, separators of lines, halves of pairs.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def visible(text: str, *, keep: str = "") -> str:
    """The text with every control character as an escape such as `\\x1b`; those in `keep` stay."""
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def visible_json(text: str) -> str:
    """JSON with the same characters as JSON's own escapes; the value is the same."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def encodable_json(text: str, encoding: str) -> str:
    """JSON that the encoding can carry: where it cannot, every character beyond ASCII is one of JSON's escapes."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(character if character.isascii() else _escape(character) for character in text)
    return text


def encodable(text: str, encoding: str) -> str:
    """The text as it will look in an encoding: stand-ins for the characters that the encoding has not."""
    try:
        return text.encode(encoding, ENCODABLE).decode(encoding)
    except LookupError:
        return text


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unknown = error.object[error.start : error.end]
    return "".join(_STAND_INS.get(character) or _escape(character) for character in unknown), error.end


def _escape(character: str) -> str:
    """One or two units of UTF-16, as JSON has them."""
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


codecs.register_error(ENCODABLE, _replace)
