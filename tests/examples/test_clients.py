"""The examples' servers and clients run as they stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.examples.running import run_client, serving


@pytest.mark.parametrize("example", ["quickstart", "csv_profile"])
def test_the_client_of_an_example_is_content_with_its_server(example: str, tmp_path: Path) -> None:
    """Clients assert what they get, so an exit code of 0 says that all of it was right."""
    with serving(example, tmp_path) as server:
        result = run_client(example, server.url)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("example", ["quickstart", "csv_profile"])
def test_the_client_of_an_example_fails_where_its_task_type_is_unknown(example: str, tmp_path: Path) -> None:
    """An exit code of 0 is earned: against another server the client exits with another."""
    with serving("web", tmp_path) as server:
        result = run_client(example, server.url)
    assert result.returncode == 1
    assert "Unknown task type" in result.stderr, result.stderr
