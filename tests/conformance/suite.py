"""The official conformance suite as a function: a URL and what to check in, counts and failures out.

The version is pinned: an earlier pre-release judges every task handle as if it were a
tool result. Each scenario leaves a `checks.json`, which is all that is read here;
the suite's exit code ignores what it does not score.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import anyio

from tests.npm import NPM

__all__ = ["Outcome", "Suite"]

PACKAGE = "@modelcontextprotocol/conformance"
VERSION = "0.2.0-alpha.12"
SCENARIO_TIMEOUT_MS = 60_000

OUT_OF_TIME = re.compile(r"within \d+ ?ms|timed? ?out|operation was aborted", re.IGNORECASE)
"""What the suite says when a wait of its own was too short: 10 s for an answer, and 10 s for a task to end."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Checks that passed and failed, over all scenarios of one run."""

    passed: int
    failed: int
    problems: Sequence[str] = field(default_factory=tuple)
    """One line for each check that failed or warns, and for each scenario that came to no result."""


class Suite:
    """The installed suite."""

    def __init__(self, npm: NPM) -> None:
        npm.install(**{PACKAGE: VERSION})
        self._command = [str(npm.node()), str(npm.package(PACKAGE) / "dist" / "index.js")]
        self._folder = npm.folder

    async def tasks(self, url: str) -> Outcome:
        """Every scenario of the tasks extension, by name: no set of the suite scores them.

        One in which the suite's own clock ran out is run once more, and `problems` says so.
        """
        names = re.findall(r"^\s*- (tasks-[a-z0-9-]+)", await self._output("list", "--server"), re.MULTILINE)
        results = self._results_folder()
        again: list[str] = []
        for name in names:
            await self._run(url, results, "--scenario", name)
            failures = [_message(check) for check in _checks(results, name) if check["status"] == "FAILURE"]
            if late := next(filter(OUT_OF_TIME.search, failures), None):
                again.append(f"{name} was run once more, as the suite's own clock ran out: {late}")
                await self._run(url, results, "--scenario", name)
        outcome = _outcome(results, names)
        return replace(outcome, problems=[*again, *outcome.problems])

    async def requirements(self, url: str, revision: str) -> Outcome:
        """A frozen set, with the scenarios that the suite runs and reports but does not score."""
        listed = await self._output("list", "--requirements", revision)
        scored = listed.partition("Server scenarios")[2].partition("Client scenarios")[0]
        names = re.findall(r"^\s*- (\S+)\s*$", scored, re.MULTILINE)
        names += re.findall(r"^\s*- (\S+).*\[server\]", listed, re.MULTILINE)
        results = self._results_folder()
        await self._run(url, results, "--requirements", revision)
        return _outcome(results, names)

    async def _run(self, url: str, results: Path, *what: str) -> None:
        limit = ("--timeout", str(SCENARIO_TIMEOUT_MS))
        await self._output("server", "--url", url, *what, *limit, "-o", str(results), check=False)

    async def _output(self, *arguments: str, check: bool = True) -> str:
        result = await anyio.run_process([*self._command, *arguments], check=check)
        return result.stdout.decode()

    def _results_folder(self) -> Path:
        return Path(mkdtemp(prefix="results-", dir=self._folder))


def _outcome(results: Path, names: Sequence[str]) -> Outcome:
    counts: Counter[str] = Counter()
    problems: list[str] = []
    for name in names:
        checks = _checks(results, name)
        if not checks:
            problems.append(f"{name}: no result")
        counts.update(check["status"] for check in checks)
        problems += [
            f"{name} {check['id']}: {_message(check)}" for check in checks if check["status"] in ("FAILURE", "WARNING")
        ]
    return Outcome(passed=counts["SUCCESS"], failed=counts["FAILURE"], problems=problems)


def _checks(results: Path, name: str) -> list[dict[str, Any]]:
    """What the newest run of a scenario found."""
    # A run's folder is server-<scenario>-<time>; one scenario's name may begin like another's.
    folders = [f for f in results.iterdir() if re.fullmatch(rf"server-{re.escape(name)}-\d{{4}}-.*", f.name)]
    checks: list[dict[str, Any]] = json.loads((max(folders) / "checks.json").read_text()) if folders else []
    return checks


def _message(check: dict[str, Any]) -> str:
    return str(check.get("errorMessage") or check["description"])
