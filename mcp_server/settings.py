"""Every setting of the server, its default and its environment variable.

A setting `name` is read from `LONGTASKS_NAME`; a value given in code or as a flag
wins. `docs/configuration.md` is checked against this class by a test.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Self, get_args, get_type_hints
from urllib.parse import urlsplit, urlunsplit

from .errors import ConfigurationError

__all__ = ["Settings", "host_rows", "without_password", "words"]

MIB = 1024 * 1024


def _setting(default: Any, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings of a server. Durations are seconds, sizes are bytes."""

    backend: str = _setting("sqlite:///longtasks.db", "Where tasks are kept: `sqlite:///PATH` or `redis://…`")
    host: str = _setting("127.0.0.1", "Address to listen on")
    port: int = _setting(8081, "Port to listen on; 0 picks a free one")
    app: str | None = _setting(None, "The application to serve: a file or a module, with `:name` or without")
    log_level: str = _setting("info", "debug, info, warning or error")
    durability: Literal["full", "normal"] = _setting(
        "full", "`full`: starts and ends of tasks survive power loss; `normal`: they survive a killed process only"
    )
    lease: float = _setting(5.0, "Seconds after which the task of a dead process is taken up again")
    concurrency: int = _setting(16, "Tasks this process runs at once")
    per_owner: int | None = _setting(None, "Tasks of one owner that run at once, over all processes")
    max_queued: int = _setting(100_000, "Tasks that may wait; one more start is answered LIMIT_EXCEEDED")
    retention: float = _setting(86_400.0, "Seconds a task is kept after its end")
    cancel_grace: float = _setting(5.0, "Seconds a cancelled function gets to clean up before it is ended by force")
    drain_grace: float = _setting(0.5, "Seconds running tasks get when the server stops before others may take them")
    unready_grace: float = _setting(
        0.0, "Seconds between a signal to stop, when `/readyz` turns to 503, and the end of connections"
    )
    max_event_bytes: int = _setting(4 * MIB, "Largest event, checkpoint or result as JSON")
    max_argument_bytes: int = _setting(1 * MIB, "Largest arguments or metadata as JSON")
    max_events: int = _setting(100_000, "Events kept per task; older ones are dropped and readers get a `gap`")
    max_wait: float = _setting(570.0, "Longest `wait_seconds`; more is cut to it")
    start_grace: float = _setting(2.0, "Seconds a start by a known agent host waits, in case the task is a short one")
    host_waits: str | None = _setting(
        None, "Your own rows for the table of agent hosts, as `name=seconds`, comma separated: `my-agent=100,cline=20`"
    )
    result_budget: int = _setting(20_000, "Characters of a result that an MCP client gets at once; the rest is paged")
    task_tools: Literal["on", "off"] = _setting("on", "Whether each task type is also an MCP tool of its own name")
    mask_errors: Literal["on", "off"] = _setting(
        "off", "Whether callers see only an incident number of an unexpected exception, not its type and message"
    )
    request_state_key: str | None = _setting(
        None,
        "Secret of 32 characters or more that several processes of one service share, so that a question asked "
        "by one may be answered to another; several, comma separated, to change it",
    )
    auth: str | None = _setting(
        None,
        "Who is let in: `keys` of ours, an issuer's tokens (`oidc`), or `keys,oidc`; none: everybody, as one owner",
    )
    issuer: str | None = _setting(None, "URL of the issuer whose tokens are accepted, with `auth=oidc`")
    audience: str | None = _setting(None, "What the issuer's tokens must be for: the public URL of this server")
    insecure: bool = _setting(False, "Listen on other addresses than loopback without authentication")
    ui: Literal["on", "off"] = _setting("on", "Whether `/` and `/ui` answer with the page that shows the tasks")
    metrics: Literal["on", "off"] = _setting(
        "off", "Whether `/metrics` answers with numbers in Prometheus' format (`pip install 'mcp-long-tasks[metrics]'`)"
    )
    max_streams: int = _setting(10_000, "Open progress streams per process; one more is answered 503")
    heartbeat: float = _setting(15.0, "Seconds of silence after which a stream gets a comment")
    allowed_hosts: str | None = _setting(
        None,
        "Host headers accepted, comma separated; default: this machine's names when on loopback, else any",
    )
    cors_origins: str | None = _setting(None, "Origins of web pages that may read from this server, comma separated")

    @classmethod
    def load(cls, environ: Mapping[str, str] | None = None, **given: Any) -> Self:
        """Settings from `LONGTASKS_…` variables; `given` values that are not None win.

        Raises:
            ConfigurationError: a value has the wrong type; the message names the variable.
        """
        environ = os.environ if environ is None else environ
        hints = get_type_hints(cls)
        values: dict[str, Any] = {}
        for f in fields(cls):
            variable = f"LONGTASKS_{f.name.upper()}"
            if given.get(f.name) is not None:
                values[f.name] = given[f.name]
            elif environ.get(variable, "") != "":
                values[f.name] = _parse(variable, environ[variable], hints[f.name])
        return cls(**values)

    def __post_init__(self) -> None:
        for name in ("lease", "heartbeat", "concurrency", "per_owner", "max_events", "max_event_bytes"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ConfigurationError(f"{name} must be above 0, got {value}")
        for f in fields(self):
            if isinstance(value := getattr(self, f.name), int | float) and not value >= 0:
                raise ConfigurationError(f"{f.name} must be 0 or more, got {value}")
        if self.port > 65_535:
            raise ConfigurationError(f"port must be from 0 to 65535, got {self.port}")
        host_rows(self.host_waits)
        for name in ("task_tools", "mask_errors", "metrics"):
            if (value := getattr(self, name)) not in ("on", "off"):
                raise ConfigurationError(f"{name} must be 'on' or 'off', got {value!r}")
        if self.backend.partition("?")[0] in ("sqlite://", "sqlite:///:memory:"):
            raise ConfigurationError(
                f"the backend {self.backend!r} would keep tasks in memory, where they end with the process; name a file"
            )
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise ConfigurationError(f"log_level must be debug, info, warning or error, got {self.log_level!r}")
        if self.durability not in ("full", "normal"):
            raise ConfigurationError(f"durability must be 'full' or 'normal', got {self.durability!r}")


_BOOLEANS = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}


def _parse(variable: str, text: str, hint: Any) -> Any:
    wanted = next(t for t in (*get_args(hint), hint) if t is not type(None))
    if wanted is bool:
        if text.lower() not in _BOOLEANS:
            raise ConfigurationError(f"{variable} must be 1 or 0, got {text!r}")
        return _BOOLEANS[text.lower()]
    if wanted not in (int, float):
        return text
    try:
        return wanted(text)
    except ValueError:
        raise ConfigurationError(f"{variable} must be a number, got {text!r}") from None


def words(setting: str | None) -> list[str]:
    """The parts of a setting that is a list, comma separated."""
    return [part for part in map(str.strip, (setting or "").split(",")) if part]


def host_rows(setting: str | None) -> dict[str, float]:
    """The rows of the setting `host_waits`, by name in lower case with hyphens.

    Raises:
        ConfigurationError: a row is something else.
    """
    rows: dict[str, float] = {}
    for row in words(setting):
        name, separator, seconds = row.rpartition("=")
        try:
            rows[name.strip().lower().replace(" ", "-")] = float(seconds)
        except ValueError:
            separator = ""
        if not separator or not name.strip():
            raise ConfigurationError(f"host_waits must be name=seconds, comma separated; got {row!r}")
    return rows


def without_password(url: str) -> str:
    """A backend's URL for messages and logs."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{parts.netloc.rpartition('@')[2]}"))
