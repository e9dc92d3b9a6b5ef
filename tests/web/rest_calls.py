"""What the tests of the HTTP routes for tasks send."""

from __future__ import annotations

import json
from typing import Any

from tests.server.servers import Caller

__all__ = ["ended", "post", "started"]


async def post(caller: Caller, path: str, body: Any = None, **headers: str) -> Any:
    content = None if body is None else json.dumps(body)
    return await caller.http.post(path, content=content, headers={"Content-Type": "application/json", **headers})


async def started(caller: Caller, task_type: str = "counts", /, **arguments: Any) -> str:
    response = await post(caller, "/tasks", {"task_type": task_type, "arguments": arguments})
    assert response.status_code == 202, response.text
    operation_id: str = response.json()["operation_id"]
    assert response.headers["location"] == f"/tasks/{operation_id}"
    return operation_id


async def ended(caller: Caller, task_type: str = "counts", /, **arguments: Any) -> str:
    operation_id = await started(caller, task_type, **arguments)
    response = await caller.http.get(f"/tasks/{operation_id}?wait=20")
    assert response.json()["completed_at"], response.text
    return operation_id
