"""The blocking face: the same names without `await`, wherever it is used."""

from __future__ import annotations

import asyncio
import inspect
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import client_sdk
import client_sdk.sync
from client_sdk import DoneEvent, Event, InputRequiredEvent, NotReady, Refused, TaskCancelled
from client_sdk.sync import LongTaskClient
from client_sdk.wire import Progress, TaskStatus
from tests.client_sdk.processes import ROOT, ServerProcess


@pytest.fixture
def blocking(server: ServerProcess) -> Iterator[LongTaskClient]:
    with LongTaskClient(server.url, heartbeat=5.0) as client:
        yield client


@pytest.mark.parametrize("name", ["LongTaskClient", "TaskHandle", "EventStream"])
def test_both_faces_have_the_same_names(name: str) -> None:
    """Only what is about `await` itself differs: aclose is close."""

    def names(face: type) -> set[str]:
        return {"close" if n == "aclose" else n for n in dir(face) if not n.startswith("_")}

    instance_attributes = {"id", "task_type"} if name == "TaskHandle" else set()
    assert names(getattr(client_sdk.sync, name)) == names(getattr(client_sdk, name)) | instance_attributes


@pytest.mark.parametrize("name", ["LongTaskClient", "TaskHandle"])
def test_both_faces_take_the_same_arguments(name: str) -> None:
    """By name, kind and default."""
    there, here = getattr(client_sdk, name), getattr(client_sdk.sync, name)
    for method in [n for n in dir(there) if not n.startswith("_") and callable(getattr(here, n, None))]:
        ours = inspect.signature(getattr(here, method)).parameters.values()
        theirs = inspect.signature(getattr(there, method)).parameters.values()
        assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs], method


def test_a_whole_story_without_await(blocking: LongTaskClient) -> None:
    """Every method once."""
    assert blocking.health().status == "healthy"
    assert "burst" in [info.name for info in blocking.task_types()]
    handle = blocking.start("burst", {"count": 3})
    events = list(handle.events())
    assert isinstance(events[-1], DoneEvent)
    assert handle.cursor == events[-1].number
    assert handle.result() == {"count": 3}
    assert list(handle.events()) == []
    assert [state.status for state in handle.states()] == [TaskStatus.COMPLETED]
    assert list(blocking.task(handle.id).events()) == events
    assert handle.status() == handle.wait(timeout=5)
    assert blocking.list(limit=1).operations[0].operation_id == handle.id
    idle = blocking.start("idle")
    with pytest.raises(NotReady):
        idle.result(timeout=0.1)
    idle.cancel("enough")
    with pytest.raises(TaskCancelled, match=idle.id):
        idle.result()
    assert idle.retry().cancel().task_type == "idle"
    with pytest.raises(Refused):
        blocking.start("nothing")


def test_questions_are_answered_from_within_the_loop(blocking: LongTaskClient) -> None:
    """The iterator and the answer use one client at the same time."""
    handle = blocking.start("asking")
    for event in handle.events():
        if isinstance(event, InputRequiredEvent):
            handle.answer("overwrite", {"confirm": True})
    assert handle.result() == {"confirm": True}


def test_callbacks_come_in_the_callers_thread_and_may_use_the_client(blocking: LongTaskClient) -> None:
    """As a progress bar or a notebook needs it."""
    threads: set[str] = set()

    def note(progress: Progress) -> None:
        threads.add(threading.current_thread().name)
        assert blocking.health().status == "healthy"

    for follow in ("stream", "poll"):
        handle = blocking.start("burst", {"count": 2})
        assert getattr(handle, follow)(callback=note).status is TaskStatus.COMPLETED
    assert threads == {threading.current_thread().name}


async def test_it_works_within_a_running_loop(server: ServerProcess) -> None:
    """A notebook's cells run in one."""
    assert asyncio.get_running_loop().is_running()
    with LongTaskClient(server.url) as client:
        handle = client.start("burst", {"count": 2})
        assert isinstance(list(handle.events())[-1], DoneEvent)


def test_several_threads_share_a_client(blocking: LongTaskClient) -> None:
    """Each has its own tasks, and none waits for another."""
    results: dict[int, object] = {}

    def run(i: int) -> None:
        results[i] = blocking.start("returning", {"value": i}).result()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {i: i for i in range(8)}


def test_leaving_by_an_exception_cancels_if_asked_to(blocking: LongTaskClient) -> None:
    """As in the other face."""
    with pytest.raises(ValueError, match="mine"), blocking.start("idle", cancel_on_exit=True) as handle:
        raise ValueError("mine")
    assert handle.wait(timeout=10).status is TaskStatus.CANCELLED
    with blocking.start("idle", cancel_on_exit=True) as handle:
        pass
    assert handle.cancel().outcome in ("cancelled", "cancel_requested")


def test_a_journal_is_resumed(server: ServerProcess, tmp_path: Path) -> None:
    """By the next script."""
    with LongTaskClient(server.url, journal=tmp_path / "tasks.json") as first:
        handle = first.start("burst", {"count": 4})
        stream = handle.events()
        seen = [next(stream), next(stream)]
    with LongTaskClient(server.url, journal=tmp_path / "tasks.json") as second:
        (resumed,) = second.resume_all()
        rest = list(resumed.events())
    assert rest[0] == seen[-1]
    assert isinstance(rest[-1], DoneEvent)


def test_the_thread_ends_with_the_last_object_that_needs_it(server: ServerProcess) -> None:
    """A handle keeps its client alive; without either nothing is left."""
    before = set(threading.enumerate())
    handle = LongTaskClient(server.url).start("burst", {"count": 1})
    assert handle.result() == {"count": 1}
    (its_own,) = set(threading.enumerate()) - before
    del handle
    assert not its_own.is_alive()


# Programs that are started in the background of a shell are deaf to SIGINT, and so would be these.
INTERRUPTED = """
import signal, sys
from client_sdk.sync import LongTaskClient

signal.signal(signal.SIGINT, signal.default_int_handler)
client = LongTaskClient(sys.argv[1])
handle = client.start("asking")
stream = handle.events()
events = [next(stream) for _ in range(3)]
try:
    print("waiting", flush=True)
    next(stream)
except KeyboardInterrupt:
    print("interrupted", flush=True)
handle.answer("overwrite", True)
events += stream
print([event.number for event in events], handle.result(), flush=True)
"""


def test_an_interrupt_ends_the_wait_and_nothing_else(server: ServerProcess) -> None:
    """Ctrl-C in a loop over events: the same iterator goes on, and the program ends by itself without a word."""
    script = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", INTERRUPTED, server.url],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with script:
        assert script.stdout is not None
        assert script.stderr is not None
        assert script.stdout.readline() == "waiting\n"
        script.send_signal(signal.SIGINT)
        assert script.stdout.read() == "interrupted\n[1, 2, 3, 4, None, 5] {'confirm': True}\n"
        assert script.stderr.read() == ""
    assert script.returncode == 0


PESTERED = """
import os, random, signal, sys, threading, time
from client_sdk.sync import LongTaskClient

signal.signal(signal.SIGINT, signal.default_int_handler)
client, chance, over = LongTaskClient(sys.argv[1]), random.Random(sys.argv[2]), threading.Event()
handle = client.start("burst", {"count": 60, "pause": 0.01})

def pester():
    while not over.wait(chance.uniform(0.0005, 0.03)):
        os.kill(os.getpid(), signal.SIGINT)

stream, events, interrupts = handle.events(), [], 0
pesterer = threading.Thread(target=pester)
pesterer.start()
while not over.is_set():
    try:
        for event in stream:
            events.append(event)
        over.set()
    except KeyboardInterrupt:
        interrupts += 1
        if interrupts % 3 == 0:
            stream = handle.events()
while pesterer.is_alive():
    try:
        pesterer.join()
    except KeyboardInterrupt:
        pass
assert interrupts > 5, interrupts
numbers = [event.number for event in events if event.number is not None]
assert numbers == [*range(1, numbers[-1] + 1)], numbers
# The closing progress has no number; a new iterator gives it again if the end was not read.
assert {event.number for event in events[len(numbers) - 1 : -1]} == {None}, events[-3:]
"""


@pytest.mark.parametrize("seed", ["1", "2"])
def test_no_interrupt_loses_an_event(server: ServerProcess, seed: str) -> None:
    """Wherever it comes, also one upon another; whether the iterator goes on or a new one does."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PESTERED, server.url, seed],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # An interrupt within a finalizer is ignored by the interpreter, with a word on standard error.
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_closed_client_says_so(server: ServerProcess) -> None:
    """To every call, also to one that waits in another thread; closing again is harmless."""
    client = LongTaskClient(server.url)
    handle = client.start("idle")
    stream = handle.events()
    next(stream)
    waiting = [handle.wait, lambda: list(handle.events(after=3))]
    said: list[str] = []

    def wait(call: Callable[[], object]) -> None:
        with pytest.raises(RuntimeError) as caught:
            call()
        said.append(str(caught.value))

    threads = [threading.Thread(target=wait, args=(call,)) for call in waiting]
    for thread in threads:
        thread.start()
    client.close()
    for thread in threads:
        thread.join()
    assert said == ["This client is closed"] * 2
    for call in (client.health, handle.status, lambda: next(stream), lambda: client.start("idle")):
        with pytest.raises(RuntimeError, match="This client is closed"):
            call()
    stream.close()
    client.close()
    with LongTaskClient(server.url) as other:
        other.task(handle.id).cancel()


def test_a_stream_is_read_by_one_thread(blocking: LongTaskClient) -> None:
    """The second is told so, and the first gets everything."""
    handle = blocking.start("idle")
    stream = handle.events()
    assert [next(stream).number for _ in range(3)] == [1, 2, 3]
    refused: list[RuntimeError] = []

    def read() -> None:
        # Two threads come here; the first to wait in the stream keeps it.
        try:
            rest.extend(stream)
        except RuntimeError as error:
            refused.append(error)
            handle.cancel()

    rest: list[Event] = []
    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [str(error).partition(";")[0] for error in refused] == ["Another thread is reading this stream"]
    assert isinstance(rest[-1], DoneEvent)


ABANDONED = """
import sys
from client_sdk.sync import LongTaskClient

handle = LongTaskClient(sys.argv[1]).start("idle")
for event in handle.events():
    break
handle.cancel()
stream = handle.events()
next(stream)
"""


def test_a_program_that_just_ends_says_nothing(server: ServerProcess) -> None:
    """Open streams and clients at exit leave no traceback and do not hold the program up."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ABANDONED, server.url],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
