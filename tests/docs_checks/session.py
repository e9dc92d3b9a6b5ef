"""Runs a page's blocks as a reader would: one after the other, in one Python, with `await` at the top level.

A program of its own, started by `test_code_blocks.py` in the page's folder. Takes a
JSON list of [text, file name, line] on standard input.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import sys
from typing import Any


def main() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    with asyncio.Runner() as runner:
        for text, file, line in json.load(sys.stdin):
            # The blank lines put tracebacks on the page's own lines.
            code = compile("\n" * (line - 1) + text, file, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            result = eval(code, names)
            if inspect.iscoroutine(result):
                runner.run(result)


if __name__ == "__main__":
    main()
