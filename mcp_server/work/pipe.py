"""The messages between the server and the process of a task, as values of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from ..channel import Request
from ..events import CLASSES, Happening

__all__ = ["as_json", "from_json"]

_CLASSES: Mapping[str, Any] = {found.__name__: found for found in (*CLASSES.values(), *get_args(Request))}


def as_json(said: Happening | Request) -> dict[str, Any]:
    """An event or a request, for `from_json` on the other side."""
    return {"class": type(said).__name__, "fields": said._asdict()}


def from_json(said: Mapping[str, Any]) -> Any:
    return _CLASSES[said["class"]](**said["fields"])
