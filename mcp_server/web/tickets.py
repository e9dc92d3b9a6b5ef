"""`POST /progress/{id}/ticket`: an address that a browser may follow one task by."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from client_sdk import wire

from ..access.tickets import Tickets
from ..engine import Engine
from .failures import answering
from .tasks import Sender

__all__ = ["ticket_routes"]


def ticket_routes(
    engine: Engine, tickets: Tickets, *, principal: Sender, middleware: Sequence[Middleware]
) -> list[Route]:
    """The route that gives tickets for tasks the sender may read."""

    async def ticket(request: Request) -> Response:
        sender = principal(request)
        task = await engine.get(request.path_params["operation_id"], principal=sender)
        signed, expires_at = tickets.issue(sender, task.owner, task.id)
        path = f"{request.scope.get('root_path', '')}/progress/{task.id}/stream"
        body = {
            "ticket": signed,
            "expires_at": wire.timestamp(expires_at),
            "stream_url": f"{path}?ticket={signed}",
        }
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    return [Route("/progress/{operation_id:path}/ticket", answering(ticket), methods=["POST"], middleware=middleware)]
