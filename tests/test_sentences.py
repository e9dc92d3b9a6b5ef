"""The first words of docstrings: a subject, and no question or unnamed person in its place."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.test_architecture import PACKAGES, ROOT, sources

QUESTION = re.compile(r"(What|Who|How|Where|Which|When)\b")
UNNAMED = re.compile(r"\b(whoever|nobody|somebody)\b", re.IGNORECASE)


def docstrings() -> Iterator[tuple[str, str]]:
    """Where each docstring stands, those of constants too, and its text."""
    for path in sources(*PACKAGES):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Expr)
                and isinstance(node.value, ast.Constant)
                and isinstance(node.value.value, str)
            ):
                yield f"{path.relative_to(ROOT)}:{node.lineno}", node.value.value


def test_a_docstring_names_its_subject() -> None:
    """Its first word begins no question, and whom it speaks of has a name."""
    wrong = [where for where, text in docstrings() if QUESTION.match(text.strip()) or UNNAMED.search(text)]
    assert not wrong, "\n".join(wrong)
