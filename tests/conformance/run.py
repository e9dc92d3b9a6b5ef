"""Runs the official MCP conformance suite against our fixture server and fails when a count is not met.

Five runs: the scenarios of the tasks extension and the two frozen requirement sets
against one server; the tasks scenarios again with their requests spread over two
server processes on one SQLite file, and against a server that is killed (`kill -9`)
and started again all through the run. Needs node and npm.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import anyio.to_thread

from tests.conformance.balancer import balancer
from tests.conformance.processes import fixture_server
from tests.conformance.suite import Outcome, Suite
from tests.npm import NPM, NPMError

TASKS = 44
REQUIREMENTS = {"2026-07-28": 196, "2025-11-25": 84}
KILL_EVERY = 12
"""Answered requests between two kills: each scenario meets one, and a task gets past its lease between two."""


async def one_server(suite: Suite, store: str, check: Callable[[str], Awaitable[Outcome]]) -> Outcome:
    with fixture_server(store) as server:
        return await check(f"{server.url}/mcp")


async def two_servers(suite: Suite, store: str) -> Outcome:
    with fixture_server(store) as a, fixture_server(store) as b:
        async with balancer([a.url, b.url]) as url:
            return await suite.tasks(f"{url}/mcp")


async def killed_server(suite: Suite, store: str) -> Outcome:
    with fixture_server(store, spare=True) as server:
        restarting = anyio.Lock()
        kills = 0

        async def kill_now_and_then(number: int) -> None:
            nonlocal kills
            if number % KILL_EVERY == 0:
                async with restarting:
                    await anyio.to_thread.run_sync(server.kill)
                    await anyio.to_thread.run_sync(server.start)
                    kills += 1

        async with balancer([server.url], after=kill_now_and_then) as url:
            outcome = await suite.tasks(f"{url}/mcp")
        assert kills > 0, "nothing was killed"
        return outcome


async def run(suite: Suite, stores: Path, only: str | None) -> bool:
    runs: dict[str, tuple[int, Callable[[str], Awaitable[Outcome]]]] = {
        "tasks": (TASKS, lambda store: one_server(suite, store, suite.tasks)),
    }
    for revision, wanted in REQUIREMENTS.items():

        async def requirements(store: str, revision: str = revision) -> Outcome:
            return await one_server(suite, store, lambda url: suite.requirements(url, revision))

        runs[revision] = (wanted, requirements)
    runs["tasks, two servers"] = (TASKS, lambda store: two_servers(suite, store))
    runs["tasks, server killed"] = (TASKS, lambda store: killed_server(suite, store))
    good = True
    for number, (name, (wanted, call)) in enumerate(runs.items()):
        if only is not None and only != name:
            continue
        outcome = await call(f"sqlite:///{stores}/{number}.db")
        met = outcome.passed == wanted and outcome.failed == 0
        verdict = "ok" if met else f"wanted {wanted}/0"
        print(f"{name:24} passed {outcome.passed:4}  failed {outcome.failed:3}  {verdict}", flush=True)
        for problem in outcome.problems:
            print(f"    {problem[:500]}")
        good = good and met
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, help="a folder to keep the suite in between runs")
    parser.add_argument("--only", help="one of the runs, by the name in the table")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        try:
            suite = Suite(NPM((arguments.scratch or Path(temporary)).resolve() / "npm"))
            good = anyio.run(run, suite, Path(temporary), arguments.only)
        except NPMError as error:
            sys.exit(f"conformance: {error}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
