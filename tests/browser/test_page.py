"""The page in a real browser: what a person sees and does, and that nothing a task says becomes markup."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from tests.server.servers import Caller, serve
from tests.server.stock import open_gate, stock_server

playwright = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH")


@pytest.fixture
async def caller(tmp_path: Path) -> AsyncIterator[Caller]:
    async with serve(stock_server(tmp_path)) as caller:
        yield caller


@pytest.fixture
async def browser(caller: Caller) -> AsyncIterator[Any]:
    """Closed before the server, which waits for its streams."""
    async with playwright.async_playwright() as started:
        browser = await started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
async def page(browser: Any) -> AsyncIterator[Any]:
    """A page that may not say anything on its console."""
    page = await browser.new_page(viewport={"width": 1300, "height": 800})
    page.set_default_timeout(20_000)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield page
    assert said == []


async def test_a_task_appears_and_ends_without_a_reload(page: Any, caller: Caller) -> None:
    """The list is live, and the counts follow it."""
    gate = uuid4().hex
    await page.goto(f"{caller.url}/")
    operation_id = await caller.start("counts", {"n": 2, "gate": gate})
    row = page.locator("#rows tr", has_text=operation_id[:8])
    await row.locator(".pill.running").wait_for()
    await page.get_by_role("button", name="running 1").wait_for()
    open_gate(gate)
    await row.locator(".pill.completed").wait_for()
    await page.get_by_role("button", name="completed 1").wait_for()


async def test_a_task_has_an_address_and_shows_its_output_and_result(page: Any, caller: Caller) -> None:
    """Opened from the list it is in the address bar; the address opens it again, and back closes it."""
    operation_id = await caller.start("talks", {"n": 3})
    await page.goto(f"{caller.url}/ui")
    await page.locator("#rows a").click()
    await page.locator("#side .pill.completed").wait_for()
    assert page.url == f"{caller.url}/ui/tasks/{operation_id}"
    await page.reload()
    await page.locator("#side pre", has_text="2 xxx").wait_for()
    await page.go_back()
    await page.locator("#side").wait_for(state="hidden")


async def test_a_question_is_answered_by_a_form(page: Any, caller: Caller) -> None:
    """Made from the question's schema; the task goes on to its end."""
    operation_id = await caller.start("asks")
    await page.goto(f"{caller.url}/ui/tasks/{operation_id}")
    await page.locator("#side fieldset").wait_for()
    await page.get_by_role("button", name="Decline").click()
    await page.locator("#side fieldset").wait_for(state="detached")


async def test_a_task_is_started_by_a_form_and_cancelled_with_a_reason(page: Any, caller: Caller) -> None:
    """The form is made from the task type's schema; the reason is in the task's course."""
    await page.goto(f"{caller.url}/ui")
    await page.get_by_role("button", name="Start a task").click()
    await page.get_by_label("Task type").select_option("counts")
    await page.get_by_label("N *").fill("1")
    await page.get_by_label("Gate").fill(uuid4().hex)
    await page.get_by_role("button", name="Start", exact=True).click()
    await page.locator("#side .pill.running").wait_for()
    page.once("dialog", lambda dialog: dialog.accept("no longer needed"))
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await page.locator("#side .pill.cancelled").wait_for()
    await page.locator(".turns", has_text="no longer needed").wait_for()


async def test_what_a_task_says_is_text(page: Any, caller: Caller) -> None:
    """Markup in a message is shown as it is written, and retry goes to the new task."""
    text = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    operation_id = await caller.start("fails", {"message": text})
    await page.goto(f"{caller.url}/ui/tasks/{operation_id}")
    failure = page.locator("#side .failure")
    await failure.wait_for()
    assert text in await failure.inner_text()
    assert await page.locator("#side img, #side script, #rows img").count() == 0
    await page.get_by_role("button", name="Retry", exact=True).click()
    await page.wait_for_url(lambda url: "/ui/tasks/" in url and operation_id not in url)


async def test_the_keyboard_is_enough(page: Any, caller: Caller) -> None:
    """Search, arrows, Enter, Esc and help."""
    operation_id = await caller.start("counts", {"n": 1})
    await page.goto(f"{caller.url}/ui")
    await page.locator("#rows a").wait_for()
    await page.keyboard.press("/")
    await page.keyboard.type("no such task")
    await page.locator("#rows tr").wait_for(state="detached")
    await page.locator("#search").fill("counts")
    await page.locator("#rows a").wait_for()
    await page.locator("#start").focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await page.locator("#side h2").wait_for()
    assert operation_id in page.url
    await page.keyboard.press("Escape")
    await page.locator("#side").wait_for(state="hidden")
    await page.locator("#start").focus()
    await page.keyboard.press("?")
    await page.get_by_role("dialog", name="Keys").wait_for()


async def test_an_unknown_task_is_said_to_be_none(browser: Any, caller: Caller) -> None:
    """The server's sentence, on the page."""
    page = await browser.new_page()  # the browser itself reports the 404 on the console
    await page.goto(f"{caller.url}/ui/tasks/{uuid4().hex}")
    await page.get_by_role("alert").wait_for()


async def test_the_page_works_below_a_prefix(page: Any, tmp_path: Path) -> None:
    """Mounted into another application its addresses have the prefix."""
    server = stock_server(tmp_path)
    outer = Starlette(routes=[Mount("/inner", app=server.http_app())], lifespan=server.lifespan)
    async with serve(outer) as caller:
        await caller.http.post("/inner/tasks", json={"task_type": "counts", "arguments": {"n": 1}})
        await page.goto(f"{caller.url}/inner/ui")
        await page.locator("#rows a").click()
        await page.locator("#side .pill.completed").wait_for()
        assert "/inner/ui/tasks/" in page.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing(browser: Any, caller: Caller, scheme: str) -> None:
    """WCAG as far as axe-core can tell, with a failed task open and on a phone's width without overflow."""
    axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="axe is not installed")
    # Its script is evaluated by the debugger, which the policy of the page does not concern.
    page = await browser.new_page(viewport={"width": 1300, "height": 800}, color_scheme=scheme)
    operation_id = await caller.start("fails", {"message": "no"})
    await page.goto(f"{caller.url}/ui/tasks/{operation_id}")
    await page.locator("#side .failure").wait_for()
    await page.locator("#rows a").wait_for()
    found = await axe.Axe().run(page)
    assert [each["id"] for each in found.response["violations"]] == []
    await page.set_viewport_size({"width": 360, "height": 700})
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
