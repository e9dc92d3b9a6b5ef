"""The page's files: their headers, their size, and the setting that turns them off."""

from __future__ import annotations

import gzip
from pathlib import Path

from tests.server.servers import make_server, serve

FILES = ("/", "/ui/page.js", "/ui/task.js", "/ui/api.js", "/ui/dom.js", "/ui/page.css")


async def test_the_page_is_small_and_may_run_nothing_but_itself(tmp_path: Path) -> None:
    """At most 80 KB compressed, no inline script, no other origin; unchanged files are answered 304."""
    size = 0
    async with serve(make_server(tmp_path)) as caller:
        for path in FILES:
            response = await caller.http.get(path)
            assert response.status_code == 200
            policy = response.headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
            assert response.headers["x-content-type-options"] == "nosniff"
            again = await caller.http.get(path, headers={"If-None-Match": response.headers["etag"]})
            assert again.status_code == 304
            size += len(gzip.compress(response.content))
        assert (await caller.http.get("/ui/nothing.js")).status_code == 404
    assert size < 80_000


async def test_the_page_can_be_off(tmp_path: Path) -> None:
    """With `ui=off` its addresses are as unknown as any."""
    async with serve(make_server(tmp_path, ui="off")) as caller:
        for path in FILES:
            assert (await caller.http.get(path)).status_code == 404
