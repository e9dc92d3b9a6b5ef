"""Settings: where each value comes from, and what is refused."""

from __future__ import annotations

from dataclasses import fields

import pytest

from mcp_server import ConfigurationError, Settings
from mcp_server.settings import without_password


def test_every_setting_has_a_variable_and_what_is_given_wins() -> None:
    """Code and flags over the environment over the default."""
    environ = {"LONGTASKS_PORT": "9000", "LONGTASKS_LEASE": "2.5", "LONGTASKS_HOST": "::1", "LONGTASKS_PER_OWNER": "3"}
    loaded = Settings.load(environ, host="0.0.0.0", lease=None)
    assert (loaded.port, loaded.lease, loaded.host, loaded.per_owner) == (9000, 2.5, "0.0.0.0", 3)
    assert loaded.concurrency == Settings().concurrency


def test_an_empty_variable_is_none() -> None:
    """`LONGTASKS_PORT= longtasks serve` is how a shell takes a variable back."""
    assert Settings.load({"LONGTASKS_PORT": ""}).port == 8081


@pytest.mark.parametrize(
    ("variable", "text"),
    [("PORT", "http"), ("LEASE", "soon"), ("PER_OWNER", "many"), ("MAX_EVENTS", "1.5"), ("DURABILITY", "maybe")],
)
def test_a_variable_of_the_wrong_kind_is_named(variable: str, text: str) -> None:
    """One line that says which one and what it holds."""
    with pytest.raises(ConfigurationError, match=rf"(?i){variable}.*{text}"):
        Settings.load({f"LONGTASKS_{variable}": text})


@pytest.mark.parametrize("name", ["lease", "heartbeat", "concurrency", "per_owner", "max_events", "max_event_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_what_must_be_positive_is_positive(name: str, value: float) -> None:
    """A server that could do nothing does not start."""
    with pytest.raises(ConfigurationError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"), [("retention", -1.0), ("max_wait", float("nan")), ("port", -1), ("port", 65_536)]
)
def test_no_number_is_out_of_its_range(name: str, value: float) -> None:
    """The message names it."""
    with pytest.raises(ConfigurationError, match=rf"^{name} must be"):
        Settings(**{name: value})  # type: ignore[arg-type]


def test_every_setting_says_what_it_is() -> None:
    """The documentation is made from it."""
    for field in fields(Settings):
        assert field.metadata["doc"], field.name


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://user:s3cret@host:6379/0", "redis://user:***@host:6379/0"),
        ("rediss://:s3cret@host", "rediss://:***@host"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("sqlite:////var/lib/tasks.db", "sqlite:////var/lib/tasks.db"),
    ],
)
def test_a_password_is_not_shown(url: str, shown: str) -> None:
    """Neither in what the server says when it starts nor in its errors."""
    assert without_password(url) == shown
