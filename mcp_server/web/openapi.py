"""The OpenAPI 3.1 document of the HTTP routes for tasks; the schemas are those of `client_sdk.wire`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from client_sdk import wire

from .bodies import AnswersBody, CancelBody, StartBody

__all__ = ["document"]

Schema = dict[str, Any]

_REF = "#/components/schemas/{model}"
_ERROR = wire.Reply[None]
_ANSWERS = (
    wire.AnswerReply,
    wire.CancelReply,
    wire.EventPage,
    wire.Operations,
    wire.Result,
    wire.Snapshot,
    wire.TaskTypes,
    _ERROR,
)
_BODIES = (AnswersBody, CancelBody, StartBody)

_REFUSALS = {
    400: "Something in the request is not understood",
    401: "The credential is missing or void",
    403: "The credential does not allow this, or a web page of another site sent the request",
    404: "No such task for this caller",
    409: "What was asked for does not fit the state of the task, or the key was used with other arguments",
    413: "The body is too long",
    415: "The body is not JSON",
    421: "The Host header is none of allowed_hosts",
    429: "A limit is reached; Retry-After says when to come back",
    500: "A mistake of the server's",
    503: "The store does not answer; Retry-After says when to come back",
}
_ALWAYS = (400, 401, 403, 421, 500, 503)

_WAIT = {"type": "number", "minimum": 0, "maximum": 86_400, "default": 0}
_COUNT = {"type": "integer", "minimum": 0, "maximum": 10**15}
_HELD = "Seconds to hold the answer, until the task ends or asks something"
_LINKS = {
    name: {"operationId": name, "parameters": {"operation_id": "$response.body#/operation_id"}}
    for name in ("get_task", "get_task_events", "get_task_result", "cancel_task", "retry_task", "answer_task")
}


def document(title: str, version: str, task_types: Sequence[str]) -> Schema:
    """The document.

    Args:
        title: the server's name.
        version: the version of this package.
        task_types: names of what can be started.
    """
    models: list[tuple[type[BaseModel], Any]] = [(model, "serialization") for model in _ANSWERS]
    names, shared = models_json_schema([*models, *((body, "validation") for body in _BODIES)], ref_template=_REF)
    refs = {model: schema for (model, _), schema in names.items()}
    names_of_types = {"type": "string", "enum": list(task_types)}
    shared["$defs"]["StartBody"]["properties"]["task_type"] = names_of_types
    task = {
        "name": "operation_id", "in": "path", "required": True, "description": "The id of the task",
        "schema": {"type": "string", "minLength": 1},
    }  # fmt: skip
    make = _Operations(refs)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version, "description": "Durable tasks: start, watch, answer, collect."},
        "paths": {
            "/tasks": {
                "get": make.get(
                    "list_tasks", "Your tasks, newest first", wire.Operations,
                    _query("status", "Only tasks in this status", {"type": "string", "enum": list(wire.TaskStatus)}),
                    _query("task_type", "Only tasks of this type", names_of_types),
                    _query("limit", "How many", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
                    _query("cursor", "`next_cursor` of the page before", {"type": "string"}),
                ),
                "post": make.post(
                    "start_task", "Start a task", wire.Snapshot, StartBody, 413, 415, 429, 409,
                    _header("Idempotency-Key", "The same key with the same arguments never starts a second task"),
                    _header("Prefer", "`wait=N`: hold the answer for up to N seconds, until the task ends"),
                    accepted=True,
                ),
            },
            "/tasks/stream": {"get": make.stream("stream_tasks", "The snapshots of your tasks as they change")},
            "/tasks/{operation_id}": {
                "parameters": [task],
                "get": make.get(
                    "get_task", "A task as it is now", wire.Snapshot, 404,
                    _query("wait", _HELD, _WAIT),
                    _query("since", "With `wait`: until any event after this number", _COUNT),
                    _header("If-None-Match", "The ETag of the last answer: 304 when nothing has happened"),
                    unchanged=True,
                ),
            },
            "/tasks/{operation_id}/events": {
                "parameters": [task],
                "get": make.get(
                    "get_task_events", "The events of a task after a number", wire.EventPage, 404,
                    _query("after", "Number of the last event that is known", {**_COUNT, "default": 0}),
                    _query("limit", "How many", {"type": "integer", "minimum": 1, "maximum": 500, "default": 100}),
                ),
            },
            "/tasks/{operation_id}/stream": {
                "parameters": [task],
                "get": make.stream("stream_task", "The events of a task as they come", 404),
            },
            "/tasks/{operation_id}/result": {
                "parameters": [task],
                "get": make.get(
                    "get_task_result", "The result of a completed task", wire.Result, 404, 409,
                    _query("wait", _HELD, _WAIT),
                ),
            },
            "/tasks/{operation_id}/cancel": {
                "parameters": [task],
                "post": make.post(
                    "cancel_task", "Ask a task to stop", wire.CancelReply, CancelBody, 404, 413, 415, needs_body=False
                ),
            },
            "/tasks/{operation_id}/retry": {
                "parameters": [task],
                "post": make.post(
                    "retry_task", "Start a failed or cancelled task again", wire.Snapshot, None, 404, 409, 429,
                    accepted=True,
                ),
            },
            "/tasks/{operation_id}/answers": {
                "parameters": [task],
                "post": make.post(
                    "answer_task", "Answer questions of a task", wire.AnswerReply, AnswersBody, 404, 413, 415
                ),
            },
            "/task-types": {"get": make.get("list_task_types", "The task types there are", wire.TaskTypes)},
        },
        "components": {"schemas": shared["$defs"]},
    }  # fmt: skip


class _Operations:
    """Operations of the document; `refs` has the reference to each model's schema."""

    def __init__(self, refs: dict[Any, Schema]) -> None:
        self._refs = refs

    def get(
        self, name: str, summary: str, model: type[BaseModel], *more: int | Schema, unchanged: bool = False
    ) -> Schema:
        answers = {"200": self._answer("The answer", model)}
        if unchanged:
            answers["304"] = {"description": "Nothing has happened since"}
        return self._operation(name, summary, answers, *more)

    def post(
        self,
        name: str,
        summary: str,
        model: type[BaseModel],
        body: type[BaseModel] | None,
        *more: int | Schema,
        accepted: bool = False,
        needs_body: bool = True,
    ) -> Schema:
        answers = {"200": self._answer("The task", model)}
        if accepted:
            location = {"description": "The address of the task", "schema": {"type": "string"}}
            more_of_it = {"headers": {"Location": location}, "links": _LINKS}
            answers = {
                "200": {**self._answer("The task has ended already", model), **more_of_it},
                "202": {**self._answer("The task goes on", model), **more_of_it},
            }
        operation = self._operation(name, summary, answers, *more)
        if body is not None:
            content = {"application/json": {"schema": self._refs[body]}}
            operation["requestBody"] = {"required": needs_body, "content": content}
        return operation

    def stream(self, name: str, summary: str, *more: int) -> Schema:
        answers = {
            "200": {
                "description": "Server-sent events",
                "content": {"text/event-stream": {"schema": {"type": "string"}}},
            },
            "204": {"description": "The caller has seen the end"},
        }
        cursor = {"type": "string", "pattern": r"^\d{1,18}$"}
        return self._operation(
            name, summary, answers, *more, 429,
            {**_header("Last-Event-ID", "The id of the last event that is known"), "schema": cursor},
            _query("last_event_id", "The same", cursor),
            _query("from", "`now`: only what is new", {"type": "string", "enum": ["now"]}),
        )  # fmt: skip

    def _operation(self, name: str, summary: str, answers: Schema, *more: int | Schema) -> Schema:
        statuses = sorted({*_ALWAYS, *(status for status in more if isinstance(status, int))})
        return {
            "operationId": name,
            "summary": summary,
            "parameters": [parameter for parameter in more if isinstance(parameter, dict)],
            "responses": answers | {str(status): self._refusal(status) for status in statuses},
        }

    def _answer(self, description: str, model: type[BaseModel]) -> Schema:
        return {"description": description, "content": {"application/json": {"schema": self._refs[model]}}}

    def _refusal(self, status: int) -> Schema:
        if status in (401, 421):
            # Not ours: what the MCP SDK answers at the door.
            return {"description": _REFUSALS[status]}
        answer = self._answer(_REFUSALS[status], _ERROR)
        if status == 403:
            answer["content"]["text/plain"] = {"schema": {"type": "string"}}
        if status in (429, 503):
            answer["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "string"}}}
        return answer


def _query(name: str, description: str, schema: Schema) -> Schema:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _header(name: str, description: str) -> Schema:
    return {"name": name, "in": "header", "description": description, "schema": {"type": "string"}}
