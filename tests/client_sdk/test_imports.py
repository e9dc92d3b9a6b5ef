"""What `import client_sdk` costs, and what it promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import client_sdk
import client_sdk.errors
import client_sdk.mcp
import client_sdk.sync
import client_sdk.tracking
from client_sdk import LongTaskClientError

ROOT = Path(__file__).parents[2]
HEAVY = ("mcp", "mcp_types", "mcp_server", "starlette", "uvicorn", "rich", "typer", "docket", "redis")


@pytest.mark.parametrize("module", ["client_sdk", "client_sdk.sync", "client_sdk.wire"])
def test_importing_the_client_loads_nothing_it_does_not_need(module: str) -> None:
    """No server, no MCP SDK, no terminal: what scripts pay for is httpx2 and pydantic."""
    code = f"import sys, {module}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_public_names_are_the_documented_ones() -> None:
    """Every name of `__all__` is on a page of docs/client, and every name imported there is public."""
    pages = "\n".join(page.read_text() for page in (ROOT / "docs" / "client").glob("*.md"))
    words = set(re.findall(r"\w+", pages))
    for module in (client_sdk, client_sdk.sync, client_sdk.mcp, client_sdk.errors, client_sdk.tracking):
        assert set(module.__all__) <= words, module.__name__
        imported = re.findall(rf"from {re.escape(module.__name__)} import (?:\(([^)]*)\)|(.*))", pages)
        names = {name.strip().split(" as ")[0] for group in imported for name in "".join(group).split(",")}
        assert names - {""} <= set(module.__all__), module.__name__


def test_public_names_exist() -> None:
    """Lazy ones too."""
    for module in (client_sdk, client_sdk.sync, client_sdk.mcp, client_sdk.errors, client_sdk.tracking):
        for name in module.__all__:
            assert getattr(module, name) is not None
    with pytest.raises(AttributeError):
        client_sdk.nothing_like_this  # noqa: B018


@pytest.mark.parametrize("name", client_sdk.tracking.__all__)
def test_helpers_that_moved_still_come_from_the_front(name: str) -> None:
    """For one release, with a warning that names the new place."""
    with pytest.warns(DeprecationWarning, match=rf"client_sdk\.tracking\.{name} "):
        assert getattr(client_sdk, name) is getattr(client_sdk.tracking, name)
    assert name not in client_sdk.__all__


def test_the_tree_of_errors_is_the_one_in_its_docstring() -> None:
    """Drawn and built alike, all public, and each with the operation id."""

    def drawn(kind: type[LongTaskClientError], depth: int = 0) -> list[tuple[int, str]]:
        below = [
            line
            for child in kind.__subclasses__()
            if child.__module__ == kind.__module__
            for line in drawn(child, depth + 1)
        ]
        return [(depth, kind.__name__), *below]

    tree = [
        ((len(line) - len(line.lstrip(" │├└─"))) // 4 - 1, re.findall(r"\w+", line)[0])
        for line in (client_sdk.errors.__doc__ or "").splitlines()
        if re.match(r"^    (LongTaskClientError|[│├└ ]*[├└]──)", line)
    ]
    assert tree == drawn(LongTaskClientError)
    assert {name for _, name in tree} == set(client_sdk.errors.__all__) <= set(client_sdk.__all__)
