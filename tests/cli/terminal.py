"""A program on a terminal of its own, with what was on the screen in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

__all__ = ["Shown", "in_terminal"]

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Shown:
    """The exit code, and everything that was written, without the sequences that move the cursor."""

    code: int
    raw: str

    @property
    def text(self) -> str:
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw).replace("\r\n", "\n").replace("\r", "\n")


async def in_terminal(
    arguments: Sequence[str], *, program: str | None = None, width: int = 80, typed: str = "", **environment: str
) -> Shown:
    """Run `longtasks` (or another program) on a terminal of this width.

    Args:
        typed: what is typed, at once; the terminal keeps it until it is read.
    """
    words = [program, *arguments] if program else [sys.executable, "-m", "mcp_server", *arguments]
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LONGTASKS_")}
    variables |= {"TERM": "xterm", "COLUMNS": "", **environment}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execvpe(words[0], words, {name: value for name, value in variables.items() if value})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    os.write(terminal, typed.encode())

    def read() -> bytes:
        written = b""
        while True:
            try:
                piece = os.read(terminal, 65536)
            except OSError:  # EIO: the program has closed it
                return written
            if not piece:
                return written
            written += piece

    try:
        with anyio.fail_after(60):
            written = await anyio.to_thread.run_sync(read, abandon_on_cancel=True)
            _, status = await anyio.to_thread.run_sync(os.waitpid, child, 0)
    finally:
        os.close(terminal)
    return Shown(os.waitstatus_to_exitcode(status), written.decode("utf-8", "replace"))
