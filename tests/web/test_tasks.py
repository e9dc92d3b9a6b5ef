"""`server.tasks`, in the routes of an application."""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route

from tests.server.servers import serve
from tests.server.stock import stock_server


async def test_own_routes_do_all_that_ours_do(tmp_path: Path) -> None:
    """`server.tasks` starts, shows, streams and ends tasks from any route of the application it is mounted in."""
    server = stock_server(tmp_path)
    alice, bob = server.tasks.owned_by("alice"), server.tasks.owned_by("bob")

    async def begin(request: Request) -> Response:
        shown = await alice.start("counts", {"n": 2}, wait=20)
        return JSONResponse({"job": shown.operation_id, "result": await alice.result(shown.operation_id)})

    async def follow(request: Request) -> Response:
        return await alice.sse(request.path_params["job"], request)

    routes = [Route("/jobs", begin, methods=["POST"]), Route("/jobs/{job}/live", follow)]
    app = Starlette(routes=[*routes, Mount("/", app=server.http_app())], lifespan=server.lifespan)
    async with serve(app) as caller:
        begun = (await caller.http.post("/jobs")).json()
        assert begun["result"] == 2
        live = await caller.http.get(f"/jobs/{begun['job']}/live", headers={"Last-Event-ID": "3"})
        assert live.headers["content-type"].startswith("text/event-stream")
        assert live.text.count("event: ") == 3
        seen = [event async for event in alice.events(begun["job"])]
        assert [event.id for event in seen] == [1, 2, 3, 4, None, 5]
        assert (await alice.list()).count == 1
        assert (await bob.list()).count == (await server.tasks.list()).count == 0
        assert (await caller.http.get(f"/tasks/{begun['job']}")).status_code == 404
