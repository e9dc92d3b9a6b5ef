"""What becomes of the value that a function returns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
from anyio.lowlevel import checkpoint

from mcp_server import Engine
from tests.server.engines import run, task_type


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    """An ordinary decorator, which knows nothing of coroutines."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("how", ["decorated", "lambda"])
async def test_what_can_be_awaited_is_awaited(engine: Engine, how: str) -> None:
    """An `async def` behind an ordinary decorator is run; its coroutine is no result."""

    async def work() -> str:
        await checkpoint()
        return "done"

    task_type(engine, name="work")(logged(work) if how == "decorated" else (lambda: work()))
    async with engine.run():
        assert (await run(engine, "work")).output == "done"


async def test_a_result_of_the_wrong_type_stays_readable(engine: Engine) -> None:
    """The task fails with the place of the fault, and its error has the value."""

    @task_type(engine)
    async def work() -> dict[str, int]:
        return {"pages": "many", "words": 3}  # type: ignore[dict-item]

    async with engine.run():
        task = await run(engine, "work")
    assert task.error is not None
    assert task.error["error_code"] == "INVALID_RESULT"
    assert "result.pages: Input should be a valid integer" in task.error["message"]
    assert task.error["details"]["value"] == {"pages": "many", "words": 3}
