"""The commands for keys: create, list and revoke them in the store itself, so they need no server that answers."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import typer

from ..errors import CallerError
from ..settings import Settings
from .output import json_line, say, table, tell

if TYPE_CHECKING:
    from ..access.keys import Key, KeyRing

__all__ = ["key_commands"]

key_commands = typer.Typer(no_args_is_help=True, help="Create, list and revoke keys for callers (serve --auth keys).")

BackendOption = Annotated[str | None, typer.Option(help="Where tasks and keys are kept")]
JsonOption = Annotated[bool, typer.Option("--json", help="JSON on standard output, for scripts")]
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


@key_commands.command()
def create(
    owner: Annotated[str, typer.Option(help="Whose tasks its bearer sees and starts")],
    scope: Annotated[list[str] | None, typer.Option(help="read, write or admin; repeat it for several")] = None,
    expires: Annotated[str | None, typer.Option(help="Its life, as 90d, 12h, 30m or 60s; without: no end")] = None,
    as_json: JsonOption = False,
    backend: BackendOption = None,
) -> None:
    """Make a key and show it, this once. Without --scope it may read and write."""
    scopes = [word if ":" in word else f"tasks:{word}" for word in scope or ["read", "write"]]
    seconds = None if expires is None else _seconds(expires)

    async def go(ring: KeyRing) -> None:
        key, secret = await ring.create(owner, scopes, expires_in=seconds)
        if as_json:
            json_line({**_shown(key), "key": secret})
        else:
            tell(secret)
            say(f"key {key.id} of {owner}; it is shown only this once")

    _with_keys(backend, go)


@key_commands.command(name="list")
def list_keys(as_json: JsonOption = False, backend: BackendOption = None) -> None:
    """List keys: id, owner, scopes, and when each was made, last used and ends. Secrets are not kept."""

    async def go(ring: KeyRing) -> None:
        rows = [_shown(key) for key in await ring.all()]
        if as_json:
            json_line(rows)
        elif not rows:
            tell("no keys")
        else:
            cells = [
                [" ".join(value) if isinstance(value, list) else value or "-" for value in row.values()] for row in rows
            ]
            table(list(rows[0]), cells, flexible="owner")

    _with_keys(backend, go)


@key_commands.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id, which list shows", show_default=False)],
    backend: BackendOption = None,
) -> None:
    """Revoke a key; within five seconds it opens nothing, at any server."""

    async def go(ring: KeyRing) -> None:
        if not await ring.revoke(key_id):
            say(f"longtasks: there is no key with the id {key_id!r}")
            raise typer.Exit(1)
        tell("revoked")

    _with_keys(backend, go)


def _with_keys(backend: str | None, go: Callable[[KeyRing], Awaitable[None]]) -> None:
    from ..access.keys import KeyRing
    from ..backends import open_backend

    async def body() -> None:
        async with open_backend(Settings.load(backend=backend)) as opened:
            await go(KeyRing(lambda: opened.documents))

    try:
        anyio.run(body)
    except CallerError as error:
        say(f"longtasks: {error.message}")
        raise typer.Exit(1) from None


def _shown(key: Key) -> dict[str, Any]:
    return {
        "id": key.id,
        "owner": key.owner,
        "scopes": list(key.scopes),
        "created_at": _time(key.created_at),
        "last_used_at": _time(key.last_used_at),
        "expires_at": _time(key.expires_at),
    }


def _time(seconds: float | None) -> str | None:
    from client_sdk.wire import timestamp

    return None if seconds is None else timestamp(seconds)


def _seconds(text: str) -> float:
    if (found := re.fullmatch(r"([0-9]{1,6})([smhd])", text)) is None:
        raise typer.BadParameter(f"expected a number and s, m, h or d, got {text!r}", param_hint="--expires")
    return float(found[1]) * UNITS[found[2]]
