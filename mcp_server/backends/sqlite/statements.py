"""The named statements of `statements.sql`, as typed fields, and the migrations in order.

A field without a statement or a statement without a field fails the import.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files

__all__ = ["MIGRATIONS", "SQL", "Migration"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    insert_task: str
    insert_fixed: str
    put_state: str
    put_output: str
    insert_event: str
    find_key: str
    free_key: str
    update_task: str
    trim_events: str
    load_task: str
    load_seq: str
    read_events: str
    list_all: str
    list_status: str
    list_type: str
    list_status_and_type: str
    queue_position: str
    counts: str
    fleet_counts: str
    first_in_line: str
    stalled_tasks: str
    last_numbers: str
    data_version: str
    leased_types: str
    leased_owners: str
    due_tasks: str
    next_due: str
    put_lease: str
    renew_leases: str
    delete_lease: str
    delete_leases: str
    expired_tasks: str
    purge_events: str
    purge_lease: str
    purge_output: str
    purge_state: str
    purge_fixed: str
    purge_task: str
    put_document: str
    replace_document: str
    get_document: str
    delete_document: str
    list_documents: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One step of the schema; `number` is recorded in the file once it was made."""

    number: int
    name: str
    statements: Sequence[str]


def _statements() -> Statements:
    text = (files(__package__) / "statements.sql").read_text(encoding="utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    found = {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    expected = {field.name for field in fields(Statements)}
    if found.keys() != expected:
        raise ImportError(f"statements.sql and Statements differ in {sorted(found.keys() ^ expected)}")
    return Statements(**found)


def _migrations() -> Sequence[Migration]:
    found = sorted((files(__package__) / "migrations").iterdir(), key=lambda file: file.name)
    return [
        Migration(
            number=int(file.name[:4]),
            name=file.name.removesuffix(".sql")[5:],
            statements=list(_split(file.read_text(encoding="utf-8"))),
        )
        for file in found
        if file.name.endswith(".sql")
    ]


def _split(script: str) -> Iterator[str]:
    # `executescript` would commit the migration's own transaction before it starts.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(statement):
            yield statement
            statement = ""


SQL = _statements()
MIGRATIONS = _migrations()
