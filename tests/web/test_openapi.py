"""`/openapi.json` is true: a program that knows only this document finds no answer that it does not describe."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import anyio
import pytest

from tests.server.servers import serve
from tests.server.stock import stock_server


@pytest.mark.skipif(
    find_spec("schemathesis") is None and "CI" not in os.environ, reason="schemathesis is not installed"
)
async def test_every_answer_is_one_that_the_document_describes(tmp_path: Path) -> None:
    """Schemathesis sends what fits the document and what does not, uses the ids it is given, and checks all answers."""
    async with serve(stock_server(tmp_path, max_wait=0.2)) as caller:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{caller.url}/openapi.json"),
            *("--max-examples", "15", "--seed", "1", "--generation-database", "none", "--no-color"),
            # The streams do not end by themselves.
            *("--exclude-path-regex", "stream$", "--request-timeout", "20"),
            # The arguments of a task type have a schema of their own, and a cursor comes from an answer.
            *("--exclude-checks", "positive_data_acceptance"),
        ]
        environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
        with anyio.fail_after(240):
            done = await anyio.run_process(command, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout.decode()[-6000:] + done.stderr.decode()[-2000:]
