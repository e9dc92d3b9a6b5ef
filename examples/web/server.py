"""A server with a web page of its own: the page starts a task, shows its stream and cancels it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import anyio
from pydantic import Field
from starlette.requests import Request
from starlette.responses import FileResponse

from mcp_server import LongTaskServer, TaskContext

__all__ = ["server"]

server = LongTaskServer("web")


@server.task
async def count_words(chapters: Annotated[int, Field(ge=1, le=1000)] = 40, *, task: TaskContext) -> dict[str, Any]:
    """Pretend to count the words of a book, chapter by chapter."""
    done, words = task.state or (0, 0)
    for chapter in range(done + 1, chapters + 1):
        await anyio.sleep(0.25)
        words += 1500 + 37 * chapter
        await task.report(chapter, total=chapters, message=f"chapter {chapter} of {chapters}: {words} words")
        await task.checkpoint((chapter, words))
    return {"chapters": chapters, "words": words}


async def page(_: Request) -> FileResponse:
    return FileResponse(Path(__file__).with_name("page.html"), media_type="text/html")


server.custom_route("/", methods=["GET"])(page)
