"""The walk of one task in docs/design.md leads through functions that exist, few files, and no room three times."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import pytest

from tests.docs_checks.pages import ROOT

MAX_FILES = 21
"""Of a whole life, from the start to the last frame, outside the stores."""

LINK = re.compile(r"\[`?([\w.]+)`?\]\(\.\./(mcp_server/[\w/]+\.py)(?:#(\w+))?\)")


def walks() -> dict[str, list[tuple[str, str]]]:
    """By its name: the functions and files of each walk, in order."""
    text = (ROOT / "docs" / "design.md").read_text().partition("## Follow one task")[2].partition("\n## ")[0]
    parts = re.split(r"^\*\*(.+?)\*\*", text, flags=re.MULTILINE)[1:]
    steps = {name: LINK.findall(part) for name, part in zip(parts[::2], parts[1::2], strict=True)}
    return {name: [(anchor or shown, path) for shown, path, anchor in found] for name, found in steps.items()}


def names(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{part.name}" for part in node.body if hasattr(part, "name"))


def room(path: str) -> str:
    """The package of a file, or the spine for those at the root."""
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else "the spine"


@pytest.mark.parametrize("walk", walks())
def test_every_step_is_a_function_or_class_of_its_file(walk: str) -> None:
    """A rename that forgets the page fails."""
    assert walks()[walk]
    for name, path in walks()[walk]:
        assert name in set(names(ROOT / path)), f"{path} has no {name}"


@pytest.mark.parametrize("walk", walks())
def test_no_room_is_entered_three_times(walk: str) -> None:
    """A reader goes in and comes back once at most."""
    entered = [name for name, _ in groupby(room(path) for _, path in walks()[walk])]
    assert all(entered.count(name) <= 2 for name in set(entered) - {"the spine"}), entered


def test_a_whole_life_fits_into_few_files() -> None:
    """From the call of a tool to the last frame of the stream."""
    found = walks()
    files = {path for walk in ("A start", "A report") for _, path in found[walk]} - {"mcp_server/backend.py"}
    assert len(files) <= MAX_FILES, sorted(files)
