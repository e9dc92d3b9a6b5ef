"""Odd surroundings: proxies, certificates, tokens and addresses that cannot work, and values that have no JSON form."""

from __future__ import annotations

import math
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

from client_sdk import LongTaskClient, LongTaskClientError, Refused, Unavailable
from client_sdk.tracking import MCPClient
from tests.client_sdk.processes import ServerProcess


@pytest.fixture
def dead_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return f"127.0.0.1:{closed.getsockname()[1]}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ALL_PROXY", "socks5://user:secret@127.0.0.1:1"),
        ("HTTP_PROXY", "http://127.0.0.1:1"),
        ("http_proxy", "http://127.0.0.1:1"),
        ("SSL_CERT_FILE", "/no/such/file"),
    ],
)
async def test_loopback_needs_no_proxy(
    server: ServerProcess, monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    """Nor certificates: a variable that is wrong does no harm."""
    monkeypatch.setenv(variable, value)
    async with LongTaskClient(server.url) as client:
        assert (await client.health()).status == "healthy"
        assert await (await client.start("burst", {"count": 1})).result() == {"count": 1}
    assert (await MCPClient(server.url.replace("127.0.0.1", "localhost")).get_health())["status"] == "healthy"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_a_proxy_that_does_not_answer_is_named(
    monkeypatch: pytest.MonkeyPatch, dead_port: str, variable: str
) -> None:
    """With its variable and without its password; NO_PROXY is honoured."""
    monkeypatch.setenv(variable, f"http://user:secret@{dead_port}")
    async with LongTaskClient("http://longtasks.invalid:8081") as client:
        with pytest.raises(Unavailable) as caught:
            await client.health()
    assert str(caught.value).endswith(f"by way of {variable}=http://***@{dead_port}")
    monkeypatch.setenv("NO_PROXY", "longtasks.invalid")
    async with LongTaskClient("http://longtasks.invalid:8081") as client:
        with pytest.raises(Unavailable) as caught:
            await client.health()
    assert variable not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "shown"),
    [
        ("ALL_PROXY", "socks5://user:secret@proxy.invalid:1080", "ALL_PROXY=socks5://***@proxy.invalid:1080"),
        ("HTTPS_PROXY", "no-scheme://proxy", "HTTPS_PROXY=no-scheme://proxy"),
        ("SSL_CERT_FILE", "/no/such/file", "SSL_CERT_FILE=/no/such/file"),
    ],
)
async def test_a_variable_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, shown: str
) -> None:
    """In an error of the client's own tree."""
    monkeypatch.setenv(variable, value)
    with pytest.raises(Refused) as caught:
        LongTaskClient("https://longtasks.invalid")
    assert caught.value.error_code == "ENVIRONMENT"
    assert shown in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_a_token_must_fit_a_header() -> None:
    """It is refused when the client is made."""
    for token in ("geheimnisvoll-ü", "two\nlines"):
        with pytest.raises(Refused) as caught:
            LongTaskClient("http://127.0.0.1:8081", token)
        assert caught.value.error_code == "TOKEN"
        assert token not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:70000", "http://[::1", "ftp://127.0.0.1", "nothing"])
async def test_an_address_that_is_none_is_refused(url: str) -> None:
    """With the address in the message."""
    with pytest.raises(LongTaskClientError) as caught:
        async with LongTaskClient(url) as client:
            await client.health()
    assert isinstance(caught.value, Refused)
    assert (caught.value.error_code, url in str(caught.value)) == ("URL", True)


async def test_values_with_a_json_form_are_sent_as_json(server: ServerProcess) -> None:
    """Datetimes, paths, sets, bytes, at any depth."""
    now = datetime(2026, 11, 27, 12, tzinfo=UTC)
    async with LongTaskClient(server.url) as client:
        handle = await client.start("returning", {"value": {"at": [now], "path": Path("/x"), "set": {1}}})
        assert await handle.result() == {"at": ["2026-11-27T12:00:00Z"], "path": "/x", "set": [1]}


@pytest.mark.parametrize("value", [math.nan, -math.inf, object(), "half \ud83d", {"deep": [math.inf]}])
async def test_a_value_that_cannot_be_sent_is_named(server: ServerProcess, value: object) -> None:
    """Before anything is sent, with the path of the value."""
    async with LongTaskClient(server.url) as client:
        with pytest.raises(Refused) as caught:
            await client.start("returning", {"value": value})
    assert caught.value.error_code == "INVALID_ARGUMENT"
    assert "arguments.value" in str(caught.value)
    assert caught.value.details["errors"][0]["path"].startswith("arguments.value")
