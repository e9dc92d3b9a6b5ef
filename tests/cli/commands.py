"""The `longtasks` command as a process, with what it prints: forked from one that has imported it already."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from tests.crash.processes import FORKS

__all__ = ["Ended", "command"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


def _live(arguments: list[str], environment: Mapping[str, str], folder: Path) -> None:
    for descriptor in (1, 2):
        os.dup2(os.open(folder / str(descriptor), os.O_WRONLY | os.O_CREAT), descriptor)
    for name in [name for name in os.environ if name.startswith("LONGTASKS_")]:
        del os.environ[name]
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["longtasks", *arguments]
    from mcp_server.cli.main import main

    main()


async def command(folder: Path, *arguments: str, **environment: str) -> Ended:
    """Run `longtasks` with these arguments in that folder, to its end."""
    process = FORKS.Process(target=_live, args=(list(arguments), environment, folder))
    await anyio.to_thread.run_sync(process.start)
    try:
        with anyio.fail_after(60):
            await anyio.to_thread.run_sync(process.join, abandon_on_cancel=True)
    finally:
        process.kill()
    assert process.exitcode is not None
    out, err = ((folder / name).read_text() for name in ("1", "2"))
    for name in ("1", "2"):
        (folder / name).unlink()
    return Ended(process.exitcode, out, err)
