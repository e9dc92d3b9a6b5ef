"""Events that were reported and are not committed yet: in order, in bounded batches."""

from __future__ import annotations

import pytest

from mcp_server import TaskCancelled
from mcp_server.events import Output
from mcp_server.work.outbox import MAX_BATCH, MAX_BATCH_BYTES, MAX_WAITING, MAX_WAITING_BYTES, Report, Reports


def report(number: int, size: int = 0) -> Report:
    return Report(Output(None, number), float(number), size)


def filled(count: int, size: int = 0) -> Reports:
    reports = Reports()
    for number in range(count):
        reports.put(report(number, size))
    return reports


@pytest.mark.parametrize(
    ("count", "size", "first"),
    [(3, 0, 3), (2 * MAX_BATCH, 0, MAX_BATCH), (10, MAX_BATCH_BYTES // 4, 4), (3, 2 * MAX_BATCH_BYTES, 1)],
    ids=["few", "many", "large", "very large"],
)
def test_a_batch_is_bounded_in_number_and_in_bytes(count: int, size: int, first: int) -> None:
    """One report is always taken, however large; nothing is lost and nothing changes places."""
    reports, taken = filled(count, size), []
    while reports:
        taken.append(reports.take())
    assert len(taken[0]) == first
    assert [r.at for batch in taken for r in batch] == list(range(count))
    assert reports.take() == []


@pytest.mark.parametrize(("most", "size"), [(MAX_WAITING, 0), (8, MAX_WAITING_BYTES // 8)])
def test_too_much_that_waits_is_noticed_until_it_is_taken(most: int, size: int) -> None:
    """By number or by bytes; what is put back counts again."""
    reports = filled(most, size)
    seen = [reports.too_many]
    reports.put(report(most, size))
    seen.append(reports.too_many)
    batch = reports.take()
    seen.append(reports.too_many)
    reports.put_back(batch)
    seen.append(reports.too_many)
    assert seen == [False, True, False, True]
    assert reports.take() == batch


def test_nothing_comes_after_the_last_report() -> None:
    """A thread that was still speaking when its function returned is too late, and does not spoil the end."""
    reports = filled(1)
    reports.put(report(1), last=True)
    for last in (False, True):
        with pytest.raises(TaskCancelled):
            reports.put(report(2), last=last)
    assert [r.at for r in reports.take()] == [0, 1]
