"""Questions and answers on the way between a call and a task.

Before a task exists its type's `ask_first` says what to ask. A modern client gets the
questions as the answer to its call and repeats the call with the responses; what it has
answered so far travels in the sealed request state, so no process has to remember anything.
A model answers a running task in words of its own, which are understood here.
Whether an answer fits is checked in one place for all: `answers`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from mcp_types import CallToolRequestParams, InputRequiredResult

from ..errors import InvalidArgument
from ..jsonable import to_json_text
from ..questions import check_response

__all__ = ["Round", "ask", "running_task"]

Requests = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round of a call: what is answered, and what is still open.

    `start_key` is the same in all rounds of a call, so that the last one, sent twice,
    starts one task; None when nothing was asked.
    """

    questions: Requests
    answers: Mapping[str, Any]
    start_key: str | None

    @classmethod
    def of(cls, params: CallToolRequestParams, questions: Requests) -> Self:
        """Read a call. An answer that does not fit its question is asked for again."""
        state = _state(params)
        given = {**state.get("answers", {}), **_responses(params)}
        fitting = {key: given[key] for key in questions if key in given and _fits(key, questions[key], given[key])}
        return cls(questions=questions, answers=fitting, start_key=state.get("start_key"))

    @property
    def open(self) -> Requests:
        return {key: request for key, request in self.questions.items() if key not in self.answers}

    def ask(self) -> InputRequiredResult:
        """Answer the call with the open questions."""
        return ask(self.open, answers=self.answers, start_key=self.start_key or f"rounds-{uuid.uuid4().hex}")


def ask(requests: Requests, **state: Any) -> InputRequiredResult:
    """Answer a call with questions; `state` comes back with the responses."""
    return InputRequiredResult.model_validate(
        {"resultType": "input_required", "inputRequests": dict(requests), "requestState": to_json_text(state)},
        by_name=False,
    )


def running_task(params: CallToolRequestParams) -> tuple[str | None, dict[str, Any]]:
    """The task that an earlier round of this call has started, and the responses to its questions."""
    return _state(params).get("operation_id"), _responses(params)


def _responses(params: CallToolRequestParams) -> dict[str, Any]:
    return {
        key: response.model_dump(mode="json", by_alias=True, exclude_none=True, exclude={"meta", "result_type"})
        for key, response in (params.input_responses or {}).items()
    }


def _state(params: CallToolRequestParams) -> dict[str, Any]:
    """The state that this service sealed: the SDK has refused everything else before."""
    if params.request_state is None:
        return {}
    state = json.loads(params.request_state)
    return state if isinstance(state, dict) else {}


def _fits(key: str, request: Mapping[str, Any], answer: Any) -> bool:
    try:
        check_response(key, request, answer)
    except InvalidArgument:
        return False
    return True
