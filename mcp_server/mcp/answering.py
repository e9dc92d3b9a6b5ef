"""What a model says as an answer, as the elicitation result that it means.

Models pass the bare value, the fields, or the whole result, all of which are clear
enough. Whether the answer fits is checked later, in one place for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..answers import ACTIONS

__all__ = ["as_response"]


def as_response(request: Mapping[str, Any], given: Any) -> Any:
    """An elicitation result; anything that is none is taken for the content of one."""
    if isinstance(given, Mapping) and given.get("action") in ACTIONS:
        return given
    fields = list(request.get("params", {}).get("requestedSchema", {}).get("properties", {}))
    if given in ("decline", "cancel") or (given == "accept" and not fields):
        return {"action": given}
    if not isinstance(given, Mapping):
        if len(fields) != 1:
            return given
        given = {fields[0]: given}
    return {"action": "accept", "content": given}
