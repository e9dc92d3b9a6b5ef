"""Runs real agent hosts against a server of ours, each with a scripted model that obeys our answers.

A host is installed by name and exact version; it gets a home folder of its own, and talks to
nothing but loopback. By default the task is short and waits are cut so far that a dozen calls
are needed, which is what loop detectors trip over. `--seconds 600 --max-wait 570` is the real thing.
Prints a table; needs node and npm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio

from tests.hosts.app import REPORT, server
from tests.hosts.model import ScriptedModel
from tests.npm import NPM, NPMError

ROOT = Path(__file__).parents[2]
TOOL = "build_report"
NAME = "longtasks"
OUR_TOOLS = [tool.name for tool in anyio.run(server.list_tools)]
PATIENCE = 180
"""Seconds a host may take beyond its task."""


@dataclass(frozen=True, kw_only=True)
class Host:
    """An agent host.

    Args:
        prepare: writes its configuration into the home folder and the work folder, and gives its
            arguments and its environment.
    """

    name: str
    package: str
    version: str
    binary: str
    prepare: Callable[[Path, Path, str, str], tuple[list[str], dict[str, str]]]


def _claude(home: Path, work: Path, mcp: str, model: str) -> tuple[list[str], dict[str, str]]:
    servers = work / "servers.json"
    servers.write_text(json.dumps({"mcpServers": {NAME: {"type": "http", "url": mcp}}}))
    arguments = ["-p", "Build the report", "--mcp-config", str(servers), "--strict-mcp-config"]
    arguments += ["--allowedTools", f"mcp__{NAME}", "--model", "claude-sonnet-4-5"]
    quiet = ["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "DISABLE_TELEMETRY", "DISABLE_ERROR_REPORTING"]
    quiet += ["DISABLE_AUTOUPDATER", "IS_SANDBOX"]
    environment = dict.fromkeys(quiet, "1") | {"ENABLE_TOOL_SEARCH": "false"}
    return arguments, environment | {"ANTHROPIC_BASE_URL": model, "ANTHROPIC_API_KEY": "none"}


def _codex(home: Path, work: Path, mcp: str, model: str) -> tuple[list[str], dict[str, str]]:
    (home / ".codex").mkdir()
    (home / ".codex" / "config.toml").write_text(
        f"""\
model = "scripted"
model_provider = "scripted"
approval_policy = "never"

[model_providers.scripted]
name = "scripted"
base_url = "{model}/v1"
wire_api = "responses"
env_key = "MODEL_KEY"

[mcp_servers.{NAME}]
url = "{mcp}"
default_tools_approval_mode = "approve"
"""
    )
    options = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
    return ["exec", *options, "Build the report"], {"MODEL_KEY": "none"}


def _gemini(home: Path, work: Path, mcp: str, model: str) -> tuple[list[str], dict[str, str]]:
    settings = {
        "mcpServers": {NAME: {"httpUrl": mcp, "trust": True}},
        "security": {"auth": {"selectedType": "gemini-api-key"}, "folderTrust": {"enabled": False}},
        "privacy": {"usageStatisticsEnabled": False},
        "telemetry": {"enabled": False},
        "general": {"disableAutoUpdate": True},
    }
    (home / ".gemini").mkdir()
    (home / ".gemini" / "settings.json").write_text(json.dumps(settings))
    environment = {"GEMINI_API_KEY": "none", "GOOGLE_GEMINI_BASE_URL": model, "GEMINI_CLI_TRUST_WORKSPACE": "true"}
    return ["-p", "Build the report", "--yolo", "-m", "gemini-2.5-flash"], environment


def _opencode(home: Path, work: Path, mcp: str, model: str) -> tuple[list[str], dict[str, str]]:
    subprocess.run(["git", "init", "-q", "."], cwd=work, check=True)
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "scripted",
        "options": {"baseURL": f"{model}/v1", "apiKey": "none"},
        "models": {"scripted": {"name": "scripted", "limit": {"context": 200_000, "output": 8_000}}},
    }
    settings = {
        "provider": {"scripted": provider},
        "model": "scripted/scripted",
        "small_model": "scripted/scripted",
        "autoupdate": False,
        "share": "disabled",
        "permission": "allow",
        "mcp": {NAME: {"type": "remote", "url": mcp, "enabled": True, "oauth": False}},
    }
    (work / "opencode.json").write_text(json.dumps(settings))
    environment = {"OPENCODE_DISABLE_AUTOUPDATE": "1", "OPENCODE_DISABLE_MODELS_FETCH": "1"}
    return ["run", "Build the report"], environment


HOSTS = [
    Host(
        name="Claude Code",
        package="@anthropic-ai/claude-code",
        version="2.1.332",
        binary="claude",
        prepare=_claude,
    ),
    Host(name="Codex", package="@openai/codex", version="0.171.0", binary="codex", prepare=_codex),
    Host(name="Gemini CLI", package="@google/gemini-cli", version="0.61.0", binary="gemini", prepare=_gemini),
    Host(name="opencode", package="opencode-ai", version="1.18.33", binary="opencode", prepare=_opencode),
]


@contextmanager
def our_server(folder: Path, max_wait: float) -> Iterator[str]:
    """A server with the slow task; the address of its `/mcp`."""
    command = [sys.executable, "-m", "mcp_server", "serve", "--port", "0", "--app", "tests.hosts.app:server"]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "LONGTASKS_BACKEND": f"sqlite:///{folder / 'tasks.db'}",
        "LONGTASKS_MAX_WAIT": str(max_wait),
    }
    with (folder / "server.log").open("w+") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stderr=log)
        try:
            yield _address(folder / "server.log", process)
        finally:
            process.terminate()
            process.wait()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline = time.monotonic() + 60
    while "MCP at " not in (said := log.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the server did not start:\n{said}")
        time.sleep(0.05)
    return said.split("MCP at ")[1].split(",")[0]


def run(host: Host, npm: NPM, seconds: float, max_wait: float) -> bool:
    model = ScriptedModel(TOOL, {"seconds": seconds}, goal=REPORT)
    began = time.monotonic()
    with TemporaryDirectory() as folder, our_server(Path(folder), max_wait) as mcp, model.listening() as models:
        home, work = Path(folder) / "home", Path(folder) / "work"
        home.mkdir()
        work.mkdir()
        arguments, environment = host.prepare(home, work, mcp, models)
        binary = npm.folder / "node_modules" / ".bin" / host.binary
        path = f"{npm.node().parent}{os.pathsep}{os.environ['PATH']}"
        clean = {"PATH": path, "HOME": str(home), "TERM": "dumb", **environment}
        said = _output([str(binary), *arguments], work, clean, seconds + PATIENCE)
    repeated = len(model.calls) - len({json.dumps([act.tool, act.arguments]) for act in model.calls})
    good = model.reached_its_goal and not repeated
    print(
        f"| {host.name} | {host.version} | {seconds:g} | {len(model.calls)} | {len(model.rounds)} "
        f"| {model.definitions(OUR_TOOLS)} | {time.monotonic() - began:.0f} | {'done' if good else 'FAILED'} |",
        flush=True,
    )
    if not good:
        print("    " + "\n    ".join(said.strip().splitlines()[-25:]))
        print(*(f"    {act.tool}({act.arguments})" for act in model.calls), sep="\n")
    return good


def _output(command: list[str], work: Path, environment: Mapping[str, str], limit: float) -> str:
    try:
        result = subprocess.run(
            command, cwd=work, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit
        )
    except subprocess.TimeoutExpired as error:
        return f"not done after {limit:g} s: {error.stderr!r}"
    return f"{result.stdout}{result.stderr}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scratch", type=Path, help="a folder to keep the hosts in between runs")
    parser.add_argument("--only", default="", help="hosts whose name contains this")
    parser.add_argument("--seconds", type=float, default=12.0, help="how long the task takes")
    parser.add_argument("--max-wait", type=float, default=1.0, help="the setting of the server")
    arguments = parser.parse_args()
    chosen = [host for host in HOSTS if arguments.only.lower() in host.name.lower()]
    with TemporaryDirectory() as temporary:
        try:
            npm = NPM((arguments.scratch or Path(temporary)).resolve())
            npm.install(**{host.package: host.version for host in chosen})
        except NPMError as error:
            sys.exit(f"hosts: {error}")
        print("| host | version | task, s | calls | model rounds | characters of definitions | took, s | |")
        print("|---|---|---|---|---|---|---|---|")
        # One after the other: a host that starts takes a processor or two for itself.
        results = [run(host, npm, arguments.seconds, arguments.max_wait) for host in chosen]
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
