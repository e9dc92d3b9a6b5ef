"""`__all__` says what is public, and says it right.

Read from the source, so that a module need not be importable here. What is public has
to be documented as well: see `docs_checks/test_reference.py`.
"""

from __future__ import annotations

import ast

import pytest

from tests.test_architecture import PACKAGES, ROOT, sources

MODULES = [
    path
    for path in sources(*PACKAGES)
    if path.read_text().strip() and (path.stem == "__init__" or not path.stem.startswith("_"))
]


def declared(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def defined(tree: ast.Module) -> set[str]:
    """Every name the module's top level binds, also under `if` and `try`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return names


def test_a_module_says_what_others_may_use() -> None:
    """Every module with functions or classes of its own has `__all__`, and only names that exist are in it, once."""
    wrong = []
    for path in MODULES:
        tree, shown = ast.parse(path.read_text()), path.relative_to(ROOT)
        names = declared(tree)
        if names is None:
            if any(isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) for n in tree.body):
                wrong.append(f"{shown} has no __all__")
        elif len(names) != len(set(names)) or not set(names) <= defined(tree):
            wrong.append(f"{shown}: {names}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_front_of_a_package_exports_what_it_imports(package: str) -> None:
    """What `__init__.py` imports from its own modules is exactly its `__all__`."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text())
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert imported == set(declared(tree) or ())
