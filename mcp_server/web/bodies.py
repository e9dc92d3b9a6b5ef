"""The bodies of requests to the HTTP routes for tasks."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["AnswersBody", "CancelBody", "StartBody"]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True)


class StartBody(_Body):
    """The order of a task."""

    task_type: str
    arguments: dict[str, Any] = Field(default_factory=dict, description="What the task type's schema asks for")
    metadata: dict[str, Any] = Field(default_factory=dict, description="Comes back with the task")
    idempotency_key: str | None = Field(
        default=None, description="The same as the header Idempotency-Key", min_length=1, max_length=512
    )
    priority: int = Field(default=0, ge=0, le=9, description="Higher is taken first")
    start_after: float = Field(default=0.0, ge=0, le=366 * 86_400, description="Seconds before it may run")
    wait_seconds: float = Field(default=0.0, ge=0, le=86_400, description="The same as the header Prefer: wait=N")


class CancelBody(_Body):
    """Why a task is cancelled."""

    reason: str | None = Field(default=None, min_length=1, max_length=2000)


class AnswersBody(_Body):
    """Answers to questions of a task, by their keys in `input_requests`."""

    responses: dict[str, Any] = Field(
        min_length=1, description='Elicitation results, such as {"confirm": {"action": "decline"}}'
    )
