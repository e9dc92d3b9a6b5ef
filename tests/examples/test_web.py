"""What the web page relies on: where it is, and what its requests are answered with. No browser takes part."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.examples.running import ROOT, ExampleServer, serving

PAGE = (ROOT / "examples/web/page.html").read_text()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ExampleServer]:
    with serving("web", tmp_path) as server:
        yield server


def as_the_page_does(server: ExampleServer, tool: str, **arguments: Any) -> dict[str, Any]:
    """The page's `call`: a bare request with a browser's Origin."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}
    headers = {"Content-Type": "application/json", "Accept": "application/json", "Origin": server.url}
    response = httpx2.post(f"{server.url}/mcp", json=body, headers=headers, trust_env=False)
    assert response.status_code == 200, response.text
    result: dict[str, Any] = response.json()["result"]
    assert not result["isError"], result
    data: dict[str, Any] = result["structuredContent"]["data"]
    return data


def events(response: httpx2.Response) -> Iterator[tuple[int | None, str, dict[str, Any]]]:
    """Number, name and data of each event."""
    fields: dict[str, str] = {}
    for line in response.iter_lines():
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield int(fields["id"]) if "id" in fields else None, fields["event"], json.loads(fields["data"])
            fields = {}


def open_stream(server: ExampleServer, operation_id: str, last_event_id: str | None = None) -> Any:
    headers = {"Accept": "text/event-stream"}
    if last_event_id is not None:
        # A browser that comes back sends both: the address it was given, and the last id it saw, which wins.
        headers["Last-Event-ID"] = last_event_id
    url = f"{server.url}/progress/{operation_id}/stream?last_event_id=0"
    return httpx2.stream("GET", url, headers=headers, trust_env=False, timeout=60)


def test_the_page_is_served_as_it_stands_and_needs_nothing_from_elsewhere(server: ExampleServer) -> None:
    """One file at `/`, and not one address of another host in it."""
    response = httpx2.get(server.url, trust_env=False)
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/html")
    assert response.text == PAGE
    assert re.findall(r"https?://|src=|@import|url\(", PAGE) == []


def test_what_the_page_asks_for_is_there(server: ExampleServer) -> None:
    """The tools it calls, with the arguments it gives them, and the events it listens for, by their names."""
    assert re.findall(r'call\("(\w+)"', PAGE) == ["get_task_result", "start_long_task", "cancel_task"]
    started = as_the_page_does(server, "start_long_task", task_type="count_words", arguments={"chapters": 2})
    seen = {}
    with open_stream(server, started["operation_id"]) as response:
        for _, name, data in events(response):
            seen[name] = data
    assert set(re.findall(r'addEventListener\("(\w+)"', PAGE)) - set(seen) == {"error"}
    assert {"progress", "message", "estimated_remaining"} <= seen["progress"].keys()
    assert seen["done"] == {"status": "completed"}
    reply = as_the_page_does(server, "get_task_result", operation_id=started["operation_id"])
    assert reply["result"] == {"chapters": 2, "words": 3111}


def test_a_stream_that_a_browser_opens_again_goes_on_after_a_kill_of_the_server(server: ExampleServer) -> None:
    """Every chapter is reported once, with one number after the other, over two attempts of the task."""
    started = as_the_page_does(server, "start_long_task", task_type="count_words", arguments={"chapters": 12})
    numbers: list[int] = []
    with open_stream(server, started["operation_id"]) as response:
        for number, name, _ in events(response):
            assert number is not None
            numbers.append(number)
            if name == "progress":
                break
    server.kill()
    server.start()
    attempts, end = set(), None
    with open_stream(server, started["operation_id"], last_event_id=str(numbers[-1])) as response:
        for number, name, data in events(response):
            if number is not None:
                numbers.append(number)
            if name == "status":
                attempts.add(data["attempt"])
            end = data if name == "done" else end
    assert numbers == list(range(1, len(numbers) + 1))
    assert attempts >= {2}
    assert end == {"status": "completed"}


def test_the_cancel_button_ends_the_stream_with_its_reason(server: ExampleServer) -> None:
    """The page says why a task was cancelled."""
    started = as_the_page_does(server, "start_long_task", task_type="count_words", arguments={"chapters": 1000})
    as_the_page_does(server, "cancel_task", operation_id=started["operation_id"], reason="the button was pressed")
    with open_stream(server, started["operation_id"]) as response:
        *_, (_, name, data) = events(response)
    assert (name, data) == ("done", {"status": "cancelled", "reason": "the button was pressed"})
