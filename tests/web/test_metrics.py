"""`/metrics` as Prometheus reads it, and the table of the deployment page beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from mcp_server.access.keys import KeyRing
from mcp_server.access.principal import ADMIN, READ, WRITE
from mcp_server.meter import MAX_TYPES, Meter
from tests.contract.tasks import queued
from tests.server.servers import Caller, calling, serve
from tests.server.stock import stock_server

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"


async def measured(caller: Caller) -> Mapping[tuple[str, ...], float]:
    """Each sample's value, by its name and the values of its labels in the order of their names."""
    response = await caller.http.get("/metrics")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(response.text)
    return {(s.name, *(s.labels[n] for n in sorted(s.labels))): s.value for family in families for s in family.samples}


async def test_what_happened_is_counted(tmp_path: Path) -> None:
    """Starts, attempts, ends, events and commits by type and kind; the store's tasks and queue; open streams."""
    async with serve(stock_server(tmp_path, metrics="on")) as caller:
        assert ("longtasks_tasks_started_total", "counts") not in await measured(caller)
        for _ in range(2):
            await caller.frames(await caller.start("counts", {"n": 3}, idempotency_key="one"))
        await caller.frames(await caller.start("fails", {"message": "no"}))
        asking = await caller.start("asks")
        async with caller.stream(asking) as stream:
            await stream.until("input_required")
            found = await measured(caller)
    for sample, value in {
        ("longtasks_tasks_started_total", "counts"): 1,
        ("longtasks_tasks_ended_total", "completed", "counts"): 1,
        ("longtasks_tasks_ended_total", "failed", "fails"): 1,
        ("longtasks_attempts_total", "asks"): 1,
        ("longtasks_events_total", "queued"): 3,
        ("longtasks_events_total", "progress"): 4,
        ("longtasks_wait_seconds_count", "counts"): 1,
        ("longtasks_work_seconds_count", "failed", "fails"): 1,
        ("longtasks_work_seconds_bucket", "+Inf", "failed", "fails"): 1,
        ("longtasks_tasks", "input_required"): 1,
        ("longtasks_tasks", "completed"): 1,
        ("longtasks_queue_due",): 0,
        ("longtasks_tasks_claimed",): 1,
        ("longtasks_streams_open",): 1,
    }.items():
        assert found[sample] == value, sample
    assert found["longtasks_commit_seconds_count", "yes"] == 5, "three starts and two ends"
    assert not [sample for sample in found if asking in str(sample)]


async def test_the_table_of_the_page_is_what_is_exported(tmp_path: Path) -> None:
    """Every name with its kind and its labels."""
    rows = re.findall(r"^\| `(longtasks_\w+)` \| (\w+) \| (.*?) \|", PAGE.read_text(), re.MULTILINE)
    written = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    async with serve(stock_server(tmp_path, metrics="on")) as caller:
        await caller.frames(await caller.start("counts", {"n": 1}))
        text = (await caller.http.get("/metrics")).text
    exported = {
        family.name: (family.type, family.samples[0].labels.keys() - {"le"} if family.samples else None)
        for family in text_string_to_metric_families(text)
    }
    named = {name.removesuffix("_total"): row for name, row in written.items()}
    assert named.keys() - {"longtasks_workers"} == exported.keys()
    for name, (kind, labels) in exported.items():
        assert named[name][0] == kind
        assert labels in (None, named[name][1])


async def test_metrics_are_there_by_setting_and_for_administrators(tmp_path: Path) -> None:
    """Off unless it is said; where authentication is asked for, the names of task types are not everybody's."""
    (tmp_path / "off").mkdir()
    async with serve(stock_server(tmp_path / "off")) as caller:
        assert (await caller.http.get("/metrics")).status_code == 404
    server = stock_server(tmp_path, metrics="on", auth="keys")
    async with serve(server) as nobody:
        ring = KeyRing(lambda: server.engine.backend.documents)
        for scopes, status in (((READ, WRITE), 403), ((ADMIN,), 200)):
            _, secret = await ring.create("ann", scopes)
            async with calling(nobody.url, token=secret) as caller:
                assert (await caller.http.get("/metrics")).status_code == status
        assert (await nobody.http.get("/metrics")).status_code == 403


def test_labels_are_bounded() -> None:
    """A server whose task types come and go does not keep a series for each for ever."""
    meter = Meter()
    for number in range(MAX_TYPES + 20):
        meter.note(*queued(type=f"t{number}"), seconds=0.1, durable=True)
    assert len(meter.created) == MAX_TYPES + 1
    assert sum(meter.created.values()) == MAX_TYPES + 20
