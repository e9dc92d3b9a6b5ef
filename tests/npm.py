"""Packages of the npm registry, installed by name and exact version into a scratch folder, and a node that runs them.

Used by the programs that need other people's JavaScript (`conformance/run.py`,
`clients/run.py`, `hosts/run.py`). Nothing is left in the tree, and nothing here knows what the
packages are for.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

__all__ = ["NPM", "NPMError"]

NODE_MAJOR = 22
"""What the packages in question need; npm carries it as a package of its own."""


class NPMError(Exception):
    """node or npm is missing, or a package could not be installed."""


class NPM:
    """A folder with `node_modules`. What it already holds in the wanted version is not installed again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not (shutil.which("node") and shutil.which("npm")):
            raise NPMError("node and npm are not installed")
        folder.mkdir(parents=True, exist_ok=True)
        if not (manifest := folder / "package.json").exists():
            manifest.write_text('{"private": true, "type": "module"}\n')

    def package(self, name: str) -> Path:
        return self.folder / "node_modules" / name

    def install(self, **versions: str) -> None:
        """Install packages by name and exact version (or version range of npm)."""
        missing = [f"{name}@{version}" for name, version in versions.items() if self._installed(name) != version]
        if missing:
            self._npm("install", "--save-exact", "--no-audit", "--no-fund", "--loglevel=error", *missing)

    def node(self) -> Path:
        """A node of at least the major version needed: the machine's, or else one from the registry."""
        found = shutil.which("node") or ""
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").split(".")[0]) >= NODE_MAJOR:
            return Path(found)
        local = self.folder / "node_modules" / ".bin" / "node"
        if not local.exists():
            self._npm("install", "--no-audit", "--no-fund", "--loglevel=error", f"node@{NODE_MAJOR}")
        return local

    def _installed(self, name: str) -> str | None:
        manifest = self.package(name) / "package.json"
        return json.loads(manifest.read_text())["version"] if manifest.exists() else None

    def _npm(self, *arguments: str) -> None:
        result = subprocess.run(["npm", *arguments], cwd=self.folder, capture_output=True, text=True)
        if result.returncode:
            raise NPMError(f"npm {' '.join(arguments)}: {result.stderr.strip()[-2000:]}")
