"""Runs clients that nobody here wrote against real servers of ours, over HTTP and over stdio.

Each library lives in an environment of its own in a scratch folder (they cannot share
one), installed by name and exact version. A client is a small program that tells the
story of `story.py`; it fails by raising. Prints a table; needs node and npm.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conformance.processes import fixture_server
from tests.npm import NPM, NPMError

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PYTHON_PACKAGES = {"mcp1": ["mcp==1.30.0"], "fastmcp4": ["fastmcp[tasks]==4.1.4"]}
NODE_PACKAGES = {
    "@modelcontextprotocol/sdk": "1.32.2",
    "@modelcontextprotocol/client": "2.4.0",
    "@modelcontextprotocol/ext-tasks": "0.2.2",
    "@modelcontextprotocol/inspector": "2.12.0",
    "ai": "7.0.173",
}
PATIENCE = 300
"""Seconds a client may take for its whole story."""
AT_ONCE = 3


@dataclass(frozen=True, kw_only=True)
class ForeignClient:
    name: str
    command: list[str]
    over: tuple[str, ...] = field(default=("http", "stdio"))


def python_in(scratch: Path, name: str) -> str:
    """The Python of an environment with the packages of that name."""
    folder = scratch / name
    python = folder / "bin" / "python"
    done = folder / "installed"
    if not done.exists() or done.read_text().split() != PYTHON_PACKAGES[name]:
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *PYTHON_PACKAGES[name]], check=True)
        done.write_text("\n".join(PYTHON_PACKAGES[name]))
    return str(python)


def clients(scratch: Path) -> list[ForeignClient]:
    with ThreadPoolExecutor() as installing:
        pythons = {name: installing.submit(python_in, scratch, name) for name in PYTHON_PACKAGES}
        npm = NPM(scratch / "npm")
        npm.install(**NODE_PACKAGES)
    for program in HERE.glob("*.mjs"):
        shutil.copy(program, npm.folder)  # Node looks for packages beside the script
    node, folder = str(npm.node()), npm.folder
    inspector = npm.package("@modelcontextprotocol/inspector") / "clients" / "launcher" / "build" / "index.js"

    def script(name: str) -> str:
        return str(HERE / name)

    return [
        ForeignClient(name="mcp 2.x, modern", command=[sys.executable, script("mcp2.py"), "auto"]),
        ForeignClient(name="mcp 2.x, legacy", command=[sys.executable, script("mcp2.py"), "legacy"]),
        ForeignClient(name="mcp 1.x", command=[pythons["mcp1"].result(), script("mcp1.py")]),
        ForeignClient(name="FastMCP 4", command=[pythons["fastmcp4"].result(), script("fastmcp4.py")]),
        ForeignClient(name="TypeScript SDK 1.x", command=[node, f"{folder}/ts1.mjs"]),
        ForeignClient(name="TypeScript SDK 2.x, modern", command=[node, f"{folder}/ts2.mjs", "auto"]),
        ForeignClient(name="TypeScript SDK 2.x, legacy", command=[node, f"{folder}/ts2.mjs", "legacy"]),
        ForeignClient(name="TypeScript ext-tasks", command=[node, f"{folder}/ts2_tasks.mjs"], over=("fixture",)),
        ForeignClient(name="AI SDK 7", command=[node, f"{folder}/ai.mjs"], over=("chat",)),
        ForeignClient(
            name="MCP Inspector, CLI", command=[sys.executable, script("inspector.py"), f"{node} {inspector} --cli"]
        ),
    ]


@contextmanager
def target(over: str, folder: Path) -> Iterator[list[str]]:
    """What a client is told to connect to: a URL, or `stdio` and a command. A server of its own each time."""
    store = f"sqlite:///{folder}/tasks.db"
    ours = [sys.executable, "-m", "mcp_server"]
    if over == "stdio":
        yield ["stdio", *ours, "stdio", "--backend", store]
        return
    with ExitStack() as stack:
        if over == "fixture":
            server = stack.enter_context(fixture_server(store))
            yield [f"{server.url}/mcp"]
            return
        app = ["--app", "tests.clients.chat:server"] if over == "chat" else []
        command = [*ours, "serve", "--port", "0", "--backend", store, *app]
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
        stack.callback(process.communicate)
        stack.callback(process.terminate)
        assert process.stderr is not None
        yield [next(line.split("MCP at ")[1].split(",")[0] for line in process.stderr if "MCP at " in line)]


def environment() -> dict[str, str]:
    # Foreign environments have their own packages and find ours nowhere, but for the story.
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "PYTHONDONTWRITEBYTECODE": "1"}


def run(client: ForeignClient, over: str) -> bool:
    with TemporaryDirectory() as folder, target(over, Path(folder)) as where:
        try:
            result = subprocess.run(
                [*client.command, *where],
                cwd=folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
            )
            good, said = result.returncode == 0, f"{result.stdout}{result.stderr}"
        except subprocess.TimeoutExpired as error:
            good, said = False, f"not done after {PATIENCE} s: {error.stderr!r}"
    print(f"{client.name:28} {over:8} {'ok' if good else 'FAILED'}", flush=True)
    if not good:
        print("    " + "\n    ".join(said.strip().splitlines()[-25:]))
    return good


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scratch", type=Path, help="a folder to keep the foreign environments in between runs")
    parser.add_argument("--only", default="", help="clients whose name contains this")
    arguments = parser.parse_args()
    with TemporaryDirectory() as temporary:
        scratch = (arguments.scratch or Path(temporary)).resolve()
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            chosen = [client for client in clients(scratch) if arguments.only.lower() in client.name.lower()]
        except NPMError as error:
            sys.exit(f"clients: {error}")
        # Most of a story is starting processes and waiting for tasks; each has a server of its own.
        with ThreadPoolExecutor(AT_ONCE) as telling:
            results = list(telling.map(run, *zip(*[(c, over) for c in chosen for over in c.over], strict=True)))
    sys.exit(0 if results and all(results) else 1)


if __name__ == "__main__":
    main()
