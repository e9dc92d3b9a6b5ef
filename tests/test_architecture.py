"""The shape of the tree: imports go one way, third-party packages stay in their place, files stay small.

Reads the source with `ast` and imports nothing of it, so a broken tree is still judged.
`LAYERS` and `FENCES` are the law; a module that is in no layer fails until somebody
decides where it belongs. The reasons are in docs/design.md.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("mcp_server", "client_sdk")
TREES = (*PACKAGES, "tests", "examples")
MAX_LINES = 400

LAYERS: list[set[str]] = [
    {"errors", "background", "_version"},
    {"task"},
    {"events"},
    {"questions", "settings", "backend", "jsonable"},
    {"channel", "access", "meter"},
    {"context"},
    {"schemas"},
    {"signature"},
    {"registry", "backends", "log"},
    {"views"},
    {"work"},
    {"engine"},
    {"mcp", "web"},
    {"app"},
    {"hosting", "testing"},
    {"cli"},
]
"""Modules and packages of `mcp_server`; each imports only from the lines above its own."""

ROOMS: dict[str, list[set[str]]] = {
    "mcp": [
        {"advice", "caller", "endpoint", "rounds"},
        {"auth", "notifications", "results", "wait"},
        {"reply"},
        {"tools", "type_tools"},
        {"extension"},
    ],
    "web": [
        {"bodies", "cors", "failures", "feed", "metrics", "pages", "ui_messages", "watch"},
        {"middleware", "openapi", "sse"},
        {"tasks"},
        {"health", "rest", "routes", "sockets", "tickets"},
    ],
}
"""The same within a package."""

FENCES: dict[str, set[str]] = {
    "mcp": {"mcp_server.mcp", "mcp_server.app", "mcp_server.access.edge", "client_sdk.mcp"},
    "mcp_types": {"mcp_server.mcp", "mcp_server.app", "client_sdk.mcp"},
    "starlette": {"mcp_server.web", "mcp_server.app", "mcp_server.access.edge"},
    "sse_starlette": {"mcp_server.web"},
    "sqlite3": {"mcp_server.backends.sqlite"},
    "redis": {"mcp_server.backends.redis"},
    "docket": {"mcp_server.backends.redis"},
    "jsonschema": {"mcp_server.questions"},
    "uvicorn": {"mcp_server.hosting", "mcp_server.cli.reload"},
    "prometheus_client": {"mcp_server.web.metrics"},
    "typer": {"mcp_server.cli"},
    "rich": {"mcp_server.cli", "client_sdk"},
    "httpx2": {"client_sdk", "mcp_server.access.tokens"},
    "jwt": {"mcp_server.access"},
    "pydantic": {*PACKAGES},
    "pydantic_core": {*PACKAGES},
    "anyio": {*PACKAGES},
}
"""Third-party packages (and `sqlite3`), and the only places of ours that may import each."""


def sources(*trees: str) -> list[Path]:
    return sorted(path for tree in trees for path in (ROOT / tree).rglob("*.py") if "__pycache__" not in path.parts)


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Every import statement of a file, also within functions: its line and the absolute name it reaches for.

    `from package import name` counts as `package.name`, since `name` may be a module.
    """
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text(), path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            base += node.module.split(".") if node.module else []
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def lies_in(name: str, place: str) -> bool:
    return name == place or name.startswith(f"{place}.")


def layer_of(name: str) -> int | None:
    """The layer of a module of `mcp_server`; None for the package's own front, which knows all, and for strangers."""
    part = name.split(".")[1] if "." in name else "__init__"
    return next((i for i, layer in enumerate(LAYERS) if part in layer), None)


def test_every_module_of_the_server_has_its_layer() -> None:
    """A new module is placed on purpose, and a deleted one leaves the table."""
    there = {p.stem for p in (ROOT / "mcp_server").iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert there - {"__init__", "__main__"} == set().union(*LAYERS)


def test_imports_go_one_way() -> None:
    """A module of the server imports from lower layers and from its own package, never sideways or up."""
    wrong = []
    for path in sources("mcp_server"):
        own, mine = module_name(path), layer_of(module_name(path))
        for line, name in imports(path):
            if mine is None or not name.startswith("mcp_server.") or own.split(".")[1] == name.split(".")[1]:
                continue
            theirs = layer_of(name)
            if theirs is None or theirs >= mine:
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_has_its_own_order(room: str) -> None:
    """Within a package as well, a file imports only from the lines above its own, and each has its line."""
    level = {name: number for number, line in enumerate(ROOMS[room]) for name in line}
    files = {path.stem: path for path in sources(f"mcp_server/{room}") if path.name != "__init__.py"}
    assert files.keys() == level.keys()
    for name, path in files.items():
        inner = {n.split(".")[2] for _, n in imports(path) if n.startswith(f"mcp_server.{room}.")} & files.keys()
        assert all(level[other] < level[name] for other in inner), f"{name} imports {sorted(inner)}"


def reached(path: Path, modules: set[str]) -> set[str]:
    """The modules of ours that a file imports: a name out of a module counts as that module."""
    names = (name for _, name in imports(path))
    found = {next((m for m in (name, name.rpartition(".")[0]) if m in modules), None) for name in names}
    return {name for name in found if name is not None and name != module_name(path)}


def test_no_modules_import_each_other_in_a_circle() -> None:
    """A module can be read after those it imports, also inside a package and for types only."""
    graph = {module_name(path): path for path in sources(*PACKAGES) if path.name not in ("__init__.py", "__main__.py")}
    open_edges = {name: reached(path, set(graph)) for name, path in graph.items()}
    while ends := {n for n, needs in open_edges.items() if not needs & open_edges.keys()} | (
        open_edges.keys() - set().union(*open_edges.values())
    ):
        for name in ends:
            del open_edges[name]
    circle = [f"{name} imports {', '.join(sorted(needs & open_edges.keys()))}" for name, needs in open_edges.items()]
    assert not circle, "\n".join(circle)


def test_the_client_knows_nothing_of_the_server() -> None:
    """`client_sdk` imports nothing of `mcp_server`; of the client, the server uses the wire shapes, its CLI all."""
    wrong = []
    for path in sources(*PACKAGES):
        own = module_name(path)
        for line, name in imports(path):
            from_client = lies_in(own, "client_sdk") and lies_in(name, "mcp_server")
            from_server = lies_in(own, "mcp_server") and lies_in(name, "client_sdk")
            allowed = lies_in(name, "client_sdk.wire") or lies_in(own, "mcp_server.cli")
            if from_client or (from_server and not allowed):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_third_party_packages_stay_behind_their_fence() -> None:
    """Each third-party package is imported only in the places that own it."""
    wrong = []
    for path in sources(*PACKAGES):
        own = module_name(path)
        for line, name in imports(path):
            top = name.split(".")[0]
            if top in PACKAGES or (top in sys.stdlib_module_names and top not in FENCES):
                continue
            if not any(lies_in(own, place) for place in FENCES.get(top, set())):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_the_life_of_a_task_needs_the_standard_library_only() -> None:
    """`task.py`, `events.py` and `errors.py` can be read, and run, with nothing else installed."""
    for name in ("task", "events", "errors"):
        for line, imported in imports(ROOT / "mcp_server" / f"{name}.py"):
            known = imported.split(".")[0] in sys.stdlib_module_names or imported.startswith(
                ("mcp_server.errors", "mcp_server.task")
            )
            assert known, f"{name}.py:{line} imports {imported}"


def test_a_file_is_short_or_says_why_it_is_not() -> None:
    """Above 400 lines the docstring at the top gives the reason, beginning with `Longer than`."""
    texts = {path: path.read_text() for path in sources(*TREES)}
    long = [path for path, text in texts.items() if text.count("\n") > MAX_LINES]
    wrong = [path for path in long if "Longer than" not in (ast.get_docstring(ast.parse(texts[path])) or "")]
    assert not wrong, "\n".join(f"{path.relative_to(ROOT)}: {len(texts[path].splitlines())} lines" for path in wrong)


def test_a_file_opens_with_what_it_owns() -> None:
    """Every file with code in it begins with a docstring."""
    trees = {path: ast.parse(path.read_text()) for path in sources(*TREES)}
    wrong = [str(path.relative_to(ROOT)) for path, tree in trees.items() if tree.body and not ast.get_docstring(tree)]
    assert not wrong, wrong
