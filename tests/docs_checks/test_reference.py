"""Nothing that a user can meet is undocumented: settings, commands, flags, error codes, public names."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from typing import Any

import pytest

from client_sdk.wire import ErrorCode
from mcp_server.cli.main import command as whole_command
from mcp_server.registry import Policy
from mcp_server.settings import Settings
from tests.docs_checks.pages import PAGES, ROOT

DOCS = ROOT / "docs"
PUBLIC_MODULES = (
    "mcp_server",
    "client_sdk",
    "client_sdk.sync",
    "client_sdk.mcp",
    "client_sdk.errors",
    "client_sdk.tracking",
)


def page(name: str) -> str:
    return (DOCS / name).read_text()


@pytest.mark.parametrize("setting", fields(Settings), ids=lambda field: field.name)
def test_a_setting_is_documented_with_its_variable_and_default(setting: Any) -> None:
    """Each field of `Settings` has its row in the configuration page, with the default that is in force."""
    default = "–" if setting.default is None else f"`{setting.default}`"
    row = f"| `{setting.name}` | `LONGTASKS_{setting.name.upper()}` | {default} |"
    assert row in page("configuration.md")


def test_no_setting_is_documented_that_there_is_not() -> None:
    """Every variable the configuration page names is one the program reads."""
    known = {f"LONGTASKS_{f.name.upper()}" for f in fields(Settings)} | {
        option.envvar for _, command in commands() for option in command.params if option.envvar
    }
    named = set(re.findall(r"LONGTASKS_[A-Z_]+\w", page("configuration.md") + page("commands.md")))
    assert named <= known, named - known


@pytest.mark.parametrize("field", fields(Policy), ids=lambda field: field.name)
def test_a_policy_is_documented(field: Any) -> None:
    """Each field of `Policy` has its row in the page on task functions, with its default."""
    shown = f'"{field.default}"' if isinstance(field.default, str) else field.default
    assert f"| `{field.name}` | `{shown}` |" in page("writing-tasks.md")


def commands() -> list[tuple[str, Any]]:
    """Every command by its whole name; one that only groups others is none."""
    return sorted(
        (f"{name} {part}", each)
        for name, command in whole_command().commands.items()
        for part, each in getattr(command, "commands", {"": command}).items()
    )


def section(command: str) -> str:
    """What the commands page says under a command's heading."""
    found = re.search(
        rf"^## `longtasks {command.strip()}\b.*?(?=^## |\Z)", page("commands.md"), re.MULTILINE | re.DOTALL
    )
    assert found is not None, f"docs/commands.md has no section on {command}"
    return found[0]


@pytest.mark.parametrize(("name", "command"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_command_is_documented_with_every_flag(name: str, command: Any) -> None:
    """Each command has a section with a row for every flag: its name, and its variable, which the program reads."""
    text, settings = section(name), {f.name for f in fields(Settings)}
    for option in command.params:
        if not (flag := option.opts[0]).startswith("--"):
            continue
        variable = f"LONGTASKS_{flag[2:].replace('-', '_').upper()}"
        assert f"| `{flag}` | `{variable}` |" in text, f"{name} {flag}"
        assert option.envvar == variable or option.name in settings, f"{name} {flag} has no variable"


@pytest.mark.parametrize("code", sorted(ErrorCode))
def test_an_error_code_is_documented(code: ErrorCode) -> None:
    """Each `error_code` of a tool call has its row in the protocol page."""
    assert f"| `{code.value}` |" in page("protocol.md")


def codes_in_the_source() -> Iterator[str]:
    """Every code a task can fail with: `code="…"` in calls, `failure("…")`, and `code = "…"` in classes."""
    for path in (ROOT / "mcp_server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            found: list[ast.expr] = []
            if isinstance(node, ast.Call):
                found += [keyword.value for keyword in node.keywords if keyword.arg == "code"]
                if isinstance(node.func, ast.Name) and node.func.id == "failure":
                    found += node.args[:1]
            elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "code" for t in node.targets):
                found.append(node.value)
            for value in found:
                if isinstance(value, ast.Constant) and re.fullmatch("[A-Z][A-Z_]+", str(value.value)):
                    yield str(value.value)


@pytest.mark.parametrize("code", sorted(set(codes_in_the_source())))
def test_a_code_a_task_can_fail_with_is_documented(code: str) -> None:
    """Each code that the server itself gives a failure has its row in the protocol page."""
    assert f"| `{code}` |" in page("protocol.md")


def public_names() -> list[str]:
    return sorted({f"{m}.{n}" for m in PUBLIC_MODULES for n in import_module(m).__all__})


@pytest.mark.parametrize("name", public_names())
def test_a_public_name_is_documented(name: str) -> None:
    """Each name a public module exports stands as code on some page."""
    short = name.rpartition(".")[2]
    used = re.compile(rf"\b{re.escape(short)}\b")
    code = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
    assert any(used.search(block) for p in PAGES for block in code.findall(p.read_text()))
