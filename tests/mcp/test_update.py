"""`tasks/update`: answers to what a running task asks."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from tests.mcp.conftest import Served
from tests.mcp.speaking import TASKS, Modern, Refused
from tests.mcp.tasks_schema import DETAILED, valid

WHO: dict[str, Any] = {"action": "accept", "content": {"name": "Alice"}}
GO: dict[str, Any] = {"action": "accept", "content": {"confirm": True}}


async def test_several_questions_are_open_at_once_and_answered_one_by_one(served: Served) -> None:
    """An answered key is gone on the very next look, the other stays, and the task goes on after the last."""
    task_id = await _asking(served, "asks_twice", 2)
    acknowledged = await served.modern.update(task_id, who=WHO)
    assert set(acknowledged) == {"resultType", "_meta"}
    task = valid(await served.modern.get(task_id), DETAILED)
    assert (task["status"], set(task["inputRequests"])) == ("input_required", {"go"})
    await served.modern.update(task_id, go=GO)
    done = await served.modern.until(task_id, "completed")
    assert done["result"]["content"][0]["text"] == "2 answers"


async def test_each_question_has_a_key_of_its_own_for_the_life_of_the_task(served: Served) -> None:
    """Asked again, an answered question is not put again; a key stands for one question, named by its author or not."""
    task_id = await served.modern.start("asks_in_turn")
    asked: list[tuple[str, str]] = []
    while len(asked) < 3:
        task = await served.modern.until(task_id, "input_required")
        ((key, question),) = task["inputRequests"].items()
        asked.append((key, question["params"]["message"]))
        await served.modern.update(task_id, **{key: GO})
    assert (await served.modern.until(task_id, "completed"))["result"]["content"][0]["text"] == "4 answers"
    assert [message for _, message in asked] == ["Go on?", "Sure?", "Really?"]
    assert len({key for key, _ in asked}) == 3


async def test_a_question_holds_only_what_clients_can_show(served: Served) -> None:
    """An enum stands in its field, and what may be null is left out: no references, no unions."""
    task_id = await _asking(served, "asks_for_a_format", 1)
    task = valid(await served.modern.get(task_id), DETAILED)
    fields = task["inputRequests"]["format"]["params"]["requestedSchema"]["properties"]
    assert (fields["paper"]["enum"], fields["copies"]["type"]) == (["A4", "A5"], "integer")
    advice = (await served.bare.call("get_task_progress", operation_id=task_id))["data"]["next"]
    assert 'response={"paper": <"A4" or "A5">, "copies": <integer>, "also": <array>}' in advice
    await served.modern.update(task_id, format={"action": "accept", "content": {"paper": "A5"}})
    done = await served.modern.until(task_id, "completed")
    assert done["result"]["structuredContent"] == {"paper": "A5", "copies": None, "also": []}


async def test_answers_nobody_waits_for_are_ignored(served: Served) -> None:
    """Unknown keys, whatever they hold, and keys that were answered before: acknowledged, without effect."""
    task_id = await _asking(served, "asks_twice", 2)
    await served.modern.update(task_id, unknown={"ignored": True}, number=5)
    await served.modern.update(task_id, who=WHO)
    await served.modern.update(task_id, who={"action": "decline"})
    await served.modern.update(task_id, go=GO)
    done = await served.modern.until(task_id, "completed")
    assert done["result"]["isError"] is False
    assert (await served.modern.update(task_id, go=GO))["resultType"] == "complete", "also when it is over"


@pytest.mark.parametrize(
    ("answer", "path"),
    [
        ({"ignored": True}, "responses.go.action"),
        ({"action": "timeout"}, "responses.go.action"),
        ("yes", "responses.go"),
        ({"action": "accept"}, "responses.go.content"),
        ({"action": "accept", "content": {"confirm": "yes"}}, "responses.go.content.confirm"),
        ({"action": "accept", "content": [True]}, "responses.go.content"),
    ],
    ids=str,
)
async def test_a_malformed_answer_is_refused_and_the_question_stays_open(
    served: Served, answer: Any, path: str
) -> None:
    """The error names what does not fit; the task neither fails nor goes on."""
    task_id = await _asking(served, "asks", 1)
    with pytest.raises(Refused) as refused:
        await served.modern.update(task_id, go=answer)
    assert refused.value.code == -32602
    assert refused.value.data["errors"][0]["path"] == path
    assert (await served.modern.get(task_id))["status"] == "input_required"
    await served.modern.update(task_id, go=GO)
    assert (await served.modern.until(task_id, "completed"))["result"]["isError"] is False


async def test_a_declined_question_ends_the_task_with_an_error_result(served: Served) -> None:
    """Declining is an answer; what it means is the function's to say, and by default it gives up."""
    task_id = await _asking(served, "asks", 1)
    await served.modern.update(task_id, go={"action": "decline"})
    done = await served.modern.until(task_id, "completed", "failed")
    assert done["result"]["structuredContent"]["details"]["error_code"] == "INPUT_DECLINED"


async def test_of_answers_that_race_one_counts(served: Served) -> None:
    """All are acknowledged, one is recorded."""
    task_id = await _asking(served, "asks", 1)
    async with anyio.create_task_group() as racing:
        for confirm in (True, False) * 5:
            racing.start_soon(_answer, served.modern, task_id, confirm)
    done = await served.modern.until(task_id, "completed")
    assert done["result"]["content"][0]["text"] in ("confirmed: True", "confirmed: False")
    events = (await served.bare.call("get_task_progress", operation_id=task_id, since=0))["data"]["events"]
    assert [e["data"]["reason"] for e in events if e["event"] == "status"].count("input_answered") == 1


async def test_an_answer_is_kept_for_the_next_attempt(served: Served) -> None:
    """A task that fails after it was answered is run again and does not ask again."""
    task_id = await _asking(served, "asks_and_fails_once", 1)
    await served.modern.update(task_id, who=WHO)
    done = await served.modern.until(task_id, "completed", "failed")
    assert done["result"]["content"][0]["text"] == "Alice was asked once"


async def test_a_client_that_cannot_ask_is_shown_no_question(served: Served) -> None:
    """To it the task is working, and the message says what it waits for."""
    task_id = await _asking(served, "asks", 1)
    task = valid(await Modern(served.bare.http, TASKS).get(task_id), DETAILED)
    assert (task["status"], task["statusMessage"]) == ("working", "Waits for an answer: Go on?")


async def test_a_client_that_asks_by_link_only_is_shown_no_form(served: Served) -> None:
    """Elicitation declared for URLs alone does not cover forms; declared without modes it does."""
    task_id = await _asking(served, "asks", 1)
    by_link = Modern(served.bare.http, {**TASKS, "elicitation": {"url": {}}})
    without_modes = Modern(served.bare.http, {**TASKS, "elicitation": {}})
    assert (await by_link.get(task_id))["status"] == "working"
    assert (await without_modes.get(task_id))["status"] == "input_required"


async def test_responses_have_to_be_given(served: Served) -> None:
    """An update without `inputResponses` is no update."""
    task_id = await _asking(served, "asks", 1)
    with pytest.raises(Refused) as refused:
        await served.modern.request("tasks/update", {"taskId": task_id})
    assert refused.value.code == -32602


async def _asking(served: Served, tool: str, questions: int) -> str:
    """The id of a task that has so many questions open."""
    task_id = await served.modern.start(tool)
    await served.modern.until_it(task_id, lambda task: len(task.get("inputRequests", {})) == questions)
    return task_id


async def _answer(caller: Modern, task_id: str, confirm: bool) -> None:
    await caller.update(task_id, go={"action": "accept", "content": {"confirm": confirm}})
